//! Packages, plans and what is in them, the keys of plans, and people with applications.

use serde_json::{Value, json};

use super::active::{governing, of_key, per_period, per_second, spec};
use super::scenarios::{World, endpoint};
use crate::policy::Period;

/// Whether a key is shut out, its calls per period, and per second.
type OfKey = (bool, Option<(u32, Period)>, Option<u32>);

/// A service with two endpoints, a package with a plan that has the service in it.
struct Planned {
    world: World,
    service: String,
    /// Of the endpoints `/a` and `/b`.
    endpoints: [String; 2],
    package: String,
    plan: String,
    /// The path of the plan.
    path: String,
}

impl Planned {
    async fn new(plan: &Value) -> Self {
        let world = World::new().await;
        let service = world.create("/services", &json!({"name": "s", "rateLimitCeiling": 9})).await;
        let list = format!("/services/{service}/endpoints");
        let endpoints = [
            world.create(&list, &endpoint("a", "/a")).await,
            world.create(&list, &endpoint("b", "/b")).await,
        ];
        let package = world.create("/packages", &json!({"name": "p", "notifyAdminEmails": "x@y.z"})).await;
        let mut body = json!({"name": "gold"});
        body.as_object_mut().expect("an object").extend(plan.as_object().expect("an object").clone());
        let plan = world.create(&format!("/packages/{package}/plans"), &body).await;
        let path = format!("/packages/{package}/plans/{plan}");
        world.create(&format!("{path}/services"), &json!({"id": service})).await;
        Self { world, service, endpoints, package, plan, path }
    }

    async fn key(&self, apikey: &str, more: &Value) -> String {
        let mut body = json!({"apikey": apikey, "package": {"id": self.package}, "plan": {"id": self.plan, "name": "x"}});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.world.create("/packageKeys", &body).await
    }

    /// What a key may call over the plan, and of the service by itself.
    fn of(&self, apikey: &str) -> [OfKey; 2] {
        [(&self.plan, "plan"), (&self.service, "keys")].map(|(id, suffix)| {
            let limits = of_key(&self.world, &format!("{id}.{suffix}"), apikey);
            (limits.closed, per_period(&limits), per_second(&limits))
        })
    }

    fn governing(&self, path: &str, key: &str) -> Vec<String> {
        governing(&self.world, "GET", &format!("http://api.example.com{path}"), &[("api_key", key)])
    }
}

#[tokio::test]
async fn a_key_of_a_plan_has_the_limits_of_the_plan_over_all_that_is_in_it() {
    let plan = json!({"rateLimitCeiling": 100, "rateLimitPeriod": "hour", "qpsLimitCeiling": 5,
        "rateLimitKeyOverrideAllowed": true});
    let planned = Planned::new(&plan).await;
    planned.key("plain", &json!({})).await;
    planned.key("raised", &json!({"rateLimitCeiling": 200, "qpsLimitCeiling": 50})).await;
    planned.key("exempt", &json!({"rateLimitExempt": true, "rateLimitCeiling": 0})).await;
    planned.key("waits", &json!({"status": "waiting"})).await;
    let most = u32::MAX;
    // The service only counts where the plan says how often.
    let counted = (false, Some((most, Period::Day)), None);
    assert_eq!(planned.of("plain"), [(false, Some((100, Period::Hour)), Some(5)), counted]);
    assert_eq!(planned.of("raised"), [(false, Some((200, Period::Hour)), Some(5)), counted]);
    assert_eq!(planned.of("exempt"), [(false, Some((most, Period::Hour)), Some(5)), counted]);
    assert!(planned.of("waits")[1].0 && planned.of("unknown")[1].0);
    let all = planned.governing("/a/x", "plain");
    assert!(all.contains(&format!("{}.plan", planned.plan)), "{all:?}");
    let strange = planned.governing("/a/x", "unknown");
    assert!(!strange.contains(&format!("{}.plan", planned.plan)), "{strange:?}");

    // What the plan leaves open is that of each service.
    planned.world.put(&planned.path, &json!({"rateLimitCeiling": null, "qpsLimitCeiling": null})).await;
    assert_eq!(planned.of("plain"), [(false, None, None), (false, Some((9, Period::Day)), None)]);
    assert_eq!(planned.of("raised"), [(false, Some((200, Period::Hour)), None), counted]);
    planned.world.put(&planned.path, &json!({"status": "inactive"})).await;
    assert!(planned.of("plain")[1].0, "no key of an inactive plan is let through");
}

#[tokio::test]
async fn a_key_shows_its_package_plan_and_limits_and_stays_there() {
    let planned = Planned::new(&json!({"qpsLimitCeiling": 5})).await;
    let key = planned.key("k", &json!({"qpsLimitCeiling": 7})).await;
    let path = format!("/packageKeys/{key}");
    let shown = planned.world.get(&path).await;
    assert_eq!(shown["package"], json!({"id": planned.package, "name": "p"}));
    assert_eq!(shown["plan"], json!({"id": planned.plan, "name": "gold"}));
    let of = |period: &str, source: &str, ceiling: u32| json!({"period": period, "source": source, "ceiling": ceiling});
    assert_eq!(shown["limits"], json!([of("second", "plan", 5), of("day", "service", 9)]));
    assert_eq!(planned.world.put(&path, &shown).await, shown, "what was read can be sent again");
    let other =
        planned.world.create(&format!("/packages/{}/plans", planned.package), &json!({"name": "x"})).await;
    let moved = json!({"plan": {"id": other}});
    assert_eq!(planned.world.refused("PUT", &path, &moved).await, ["plan"]);
    let stranger = planned.world.create("/packages", &json!({"name": "q"})).await;
    for (body, property) in [
        (json!({"package": {"id": stranger}, "plan": {"id": planned.plan}}), "plan"),
        (json!({"package": {"id": "nobody"}, "plan": {"id": planned.plan}}), "package"),
        (json!({"plan": {"id": planned.plan}}), "service"),
    ] {
        assert_eq!(planned.world.refused("POST", "/packageKeys", &body).await, [property], "{body}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_put_in_by_itself_leaves_the_others_out() {
    let planned = Planned::new(&json!({})).await;
    planned.key("k", &json!({})).await;
    let shut = |endpoint: &str| of_key(&planned.world, &format!("{endpoint}.endpoint"), "k").closed;
    let [a, b] = &planned.endpoints;
    assert!(!shut(a) && !shut(b), "all of them are in the plan");
    let list = format!("{}/services/{}/endpoints", planned.path, planned.service);
    assert_eq!(planned.world.create(&list, &json!({"id": a})).await, *a);
    assert!(!shut(a) && shut(b));
    let shown = planned.world.get(&list).await;
    assert_eq!(
        (&shown[0]["id"], &shown[0]["requestPathAlias"]),
        (&json!(a), &json!("/a")),
        "as it is itself"
    );
    assert_eq!(planned.world.create(&list, &json!({"id": a})).await, *a, "again changes nothing");
    assert_eq!(planned.world.get(&list).await.as_array().map(Vec::len), Some(1));
    let one = format!("{list}/{a}");
    assert_eq!(planned.world.ask("DELETE", &one, &Value::Null).await.0, 200);
    assert!(shut(a) && shut(b), "also when the last of them is taken out");
    let service = format!("{}/services/{}", planned.path, planned.service);
    assert_eq!(planned.world.get(&service).await["onlyListed"], json!(true));
    assert_eq!(planned.world.ask("DELETE", &service, &Value::Null).await.0, 200);
    assert!(
        of_key(&planned.world, &format!("{}.keys", planned.service), "k").closed,
        "no service of its plan"
    );
    for wrong in [json!({"id": "nobody"}), json!({"id": a})] {
        let list = format!("{}/services", planned.path);
        assert_eq!(planned.world.refused("POST", &list, &wrong).await, ["id"], "{wrong}");
    }
}

#[tokio::test]
async fn a_plan_limits_a_method_for_each_of_its_keys() {
    let planned = Planned::new(&json!({"rateLimitPeriod": "month"})).await;
    let [a, _] = &planned.endpoints;
    let methods = format!("/services/{}/endpoints/{a}/methods", planned.service);
    let report = planned.world.create(&methods, &json!({"name": "report"})).await;
    planned.key("k", &json!({})).await;
    let list = format!("{}/services/{}/endpoints", planned.path, planned.service);
    planned.world.create(&list, &json!({"id": a})).await;
    let list = format!("{list}/{a}/methods");
    planned.world.create(&list, &json!({"id": report, "rateLimitCeiling": 3})).await;
    let of = |key: &str| of_key(&planned.world, &format!("{report}.plans"), key);
    assert_eq!(per_period(&of("k")), Some((3, Period::Month)), "the period of the plan");
    assert_eq!(per_period(&of("other")), None);
    let of_call = |path: &str, key: &str| planned.governing(path, key).contains(&format!("{report}.plans"));
    assert!(of_call("/a/report", "k") && !of_call("/a/x", "k") && !of_call("/a/report", "other"));
    let changed = planned.world.put(&format!("{list}/{report}"), &json!({"rateLimitPeriod": "day"})).await;
    assert_eq!((&changed["name"], &changed["rateLimitCeiling"]), (&json!("report"), &json!(3)));
    assert_eq!(per_period(&of("k")), Some((3, Period::Day)));
    assert_eq!(spec(&planned.world, &format!("{report}.plans")).rank, 2);
    let (status, _) = planned.world.ask("DELETE", &format!("{methods}/{report}"), &Value::Null).await;
    assert_eq!(status, 409, "a plan has it in it");
}

#[tokio::test]
async fn a_whole_tree_is_created_shown_and_changed_at_once() {
    let world = World::new().await;
    let mut inner = endpoint("e", "/v1");
    inner["methods"] = json!([{"name": "get"}, {"name": "put"}]);
    let body = json!({"name": "s", "editorHandle": "ann", "endpoints": [inner, endpoint("f", "/v2")]});
    let (status, made) = world.ask("POST", "/services?fields=id,name,endpoints", &body).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["endpoints"].as_array().map(Vec::len), Some(2));
    let path = format!("/services/{}", made["id"].as_str().expect("an id"));
    let names = world.get(&format!("{path}?fields=endpoints.name,endpoints.methods.name")).await;
    let names_expected = json!({"endpoints": [
        {"name": "e", "methods": [{"name": "get"}, {"name": "put"}]}, {"name": "f", "methods": []}
    ]});
    assert_eq!(names, names_expected);
    assert_eq!(world.get(&path).await["endpoints"], Value::Null, "only where it is asked for");

    // The answer itself is what clients put into a plan.
    let package = json!({"name": "p", "plans": [{"name": "gold", "services": [made]}]});
    let package = world.create("/packages", &package).await;
    let fields = "fields=plans.services.id,plans.services.endpoints.name";
    let shown = world.get(&format!("/packages/{package}?{fields}")).await;
    let in_plan =
        json!({"plans": [{"services": [{"id": made["id"], "endpoints": [{"name": "e"}, {"name": "f"}]}]}]});
    assert_eq!(shown, in_plan);

    // A change names what is there by its id; the rest is new, and what is not mentioned stays.
    let first = made["endpoints"][0]["id"].clone();
    let change = json!({"endpoints": [{"id": first, "name": "renamed"}, endpoint("g", "/v3")]});
    world.put(&path, &change).await;
    let names = world.get(&format!("{path}/endpoints?fields=name")).await;
    assert_eq!(names, json!([{"name": "renamed"}, {"name": "f"}, {"name": "g"}]));
    let clash = json!({"name": "t", "endpoints": [endpoint("h", "/v9"), endpoint("i", "/v1")]});
    assert_eq!(world.refused("POST", "/services", &clash).await, ["requestPathAlias"]);
    assert_eq!(world.get("/services").await.as_array().map(Vec::len), Some(1), "all of it or nothing");
}

#[tokio::test]
async fn members_have_applications_and_these_have_keys() {
    let planned = Planned::new(&json!({})).await;
    let world = &planned.world;
    let ann = json!({"username": "ann", "email": "ann@example.com", "passwdNew": "secret", "blog": "b"});
    let ann = world.create("/members", &ann).await;
    let shown = world.get(&format!("/members/{ann}")).await;
    assert_eq!((&shown["blog"], &shown["passwdNew"]), (&json!("b"), &Value::Null));
    assert_eq!(world.refused("POST", "/members", &json!({"username": "ann"})).await, ["username"]);
    let apps = format!("/members/{ann}/applications");
    let app = world.create(&apps, &json!({"name": "shop", "username": "bob"})).await;
    assert_eq!(world.get(&format!("/applications/{app}")).await["username"], json!("ann"), "whose it is");
    let keys = format!("/applications/{app}/packageKeys");
    let body = json!({"package": {"id": planned.package}, "plan": {"id": planned.plan}});
    let key = world.create(&keys, &body).await;
    assert_eq!(world.get(&format!("/packageKeys/{key}")).await["id"], json!(key), "found by itself too");
    assert_eq!(world.get(&format!("{keys}?fields=id")).await, json!([{"id": key}]));
    let alone = planned.key("alone", &json!({})).await;
    assert_eq!(world.ask("GET", &format!("{keys}/{alone}"), &Value::Null).await.0, 404);
    let shown = world.get(&format!("/members/{ann}?fields=username,applications.packageKeys.id")).await;
    assert_eq!(shown, json!({"username": "ann", "applications": [{"packageKeys": [{"id": key}]}]}));
    for path in [
        format!("/members/{ann}"),
        format!("/applications/{app}"),
        planned.path.clone(),
        format!("/packages/{}", planned.package),
        format!("/services/{}", planned.service),
    ] {
        assert_eq!(world.ask("DELETE", &path, &Value::Null).await.0, 409, "{path}");
    }
    for path in [
        format!("/packageKeys/{key}"),
        format!("/packageKeys/{alone}"),
        format!("/applications/{app}"),
        format!("/members/{ann}"),
        format!("/packages/{}", planned.package),
        format!("/services/{}", planned.service),
    ] {
        assert_eq!(world.ask("DELETE", &path, &Value::Null).await.0, 200, "{path}");
    }
    assert_eq!(world.policies.book().of_origin(&crate::manage::mashery::objects::origin()).len(), 0);
}
