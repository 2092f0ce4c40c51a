//! One limit for one service, sandbox and url, also while the rest of an earlier config drains.

use http::Method;
use serde_json::{Value, json};

use super::active::{CONFIGS, cap, config, deployed, done, generations, governed};
use super::scenarios::world;
use crate::manage::adobe::testing::ORG;

#[tokio::test]
async fn each_service_goes_on_in_the_policy_of_one_that_was_deleted_by_force() {
    let world = world().await;
    let to = "https://api.example.org/data/x";
    let both = json!({"action": cap(10, 1000, 5), "dataSource": cap(20, 1000, 5)});
    let first = deployed(&world, &config("https://api.example.org/data/*", &both)).await;
    done(&world, Method::DELETE, &format!("{CONFIGS}/{first}?forceDelete=true"), &Value::Null).await;

    let of = |service| [("org", ORG), ("sandbox", "prod"), ("service", service)];
    let action = json!({"action": cap(7, 1000, 5)});
    let second = deployed(&world, &config("https://API.example.org:443/data/*", &action)).await;
    assert_eq!(governed(&world, Method::POST, to, &of("action")), Some(format!("{first}.action@2")));
    assert_eq!(governed(&world, Method::POST, to, &of("dataSource")), None);
    assert_eq!(
        (generations(&world, &first, "action").len(), generations(&world, &second, "action")),
        (2, vec![])
    );

    // The other service drains still when a deploy brings it back.
    let path = format!("{CONFIGS}/{second}");
    done(&world, Method::PUT, &path, &config("https://api.example.org/data/*", &both)).await;
    done(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    assert_eq!(governed(&world, Method::POST, to, &of("action")), Some(format!("{first}.action@2")));
    assert_eq!(governed(&world, Method::POST, to, &of("dataSource")), Some(format!("{first}.dataSource@2")));
    done(&world, Method::POST, &format!("{path}/undeploy"), &Value::Null).await;
    done(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    assert_eq!(governed(&world, Method::POST, to, &of("action")), Some(format!("{first}.action@3")));
}

#[tokio::test]
async fn another_url_has_a_limit_of_its_own() {
    let world = world().await;
    let action = json!({"action": cap(10, 1000, 5)});
    let first = deployed(&world, &config("https://api.example.org/data/*", &action)).await;
    done(&world, Method::DELETE, &format!("{CONFIGS}/{first}?forceDelete=true"), &Value::Null).await;
    let second = deployed(&world, &config("https://api.example.org/data/2/*", &action)).await;
    let here = [("org", ORG), ("sandbox", "prod")];
    let by = governed(&world, Method::POST, "https://api.example.org/data/2/x", &here);
    assert_eq!(by, Some(format!("{second}.action@1")));
}
