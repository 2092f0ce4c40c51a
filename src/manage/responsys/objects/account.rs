//! One account: its own limits, and the users that may not call some functions (contract.md 1, 4). The
//! configuration file and the route check by the same rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::json_pointer;
use crate::manage::call::is_label_value;
use crate::manage::responsys::objects::catalogue;
use crate::policy::Window;

/// An account as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[schema(as = ResponsysAccountValues)]
#[serde(default, deny_unknown_fields)]
pub struct RawAccount {
    /// Requests per minute by function.
    pub limits: BTreeMap<String, i64>,
    /// Users that may not call some functions.
    pub blocked: Vec<Block>,
    /// Users whose login belongs to this account.
    pub users: Vec<String>,
}

/// A user that may not call some functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ResponsysBlock)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The user, as the label `user` names it.
    pub user: String,
    /// The functions, at least one.
    pub apis: Vec<String>,
}

/// An account whose names, functions and ranges were checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(in crate::manage::responsys) name: String,
    pub(in crate::manage::responsys) limits: BTreeMap<String, u32>,
    pub(in crate::manage::responsys) blocked: Vec<Block>,
    /// Missing in what earlier versions have stored.
    #[serde(default)]
    pub(in crate::manage::responsys) users: Vec<String>,
}

/// A rule that an account breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {rule}", if .pointer.is_empty() { "the name" } else { .pointer })]
pub(crate) struct AccountFault {
    /// JSON pointer to the member within the account; empty for its name.
    pub pointer: String,
    /// The rule and the way out.
    pub rule: String,
}

/// How long the window of every limit is, in milliseconds: a minute that slides (contract.md 4).
pub(in crate::manage::responsys) const WINDOW_MS: i64 = 60_000;

impl Account {
    /// Most users of one account that may be blocked.
    pub(crate) const MAX_BLOCKED: usize = 1_000;
    /// Most users of one account whose login is listed.
    pub(crate) const MAX_USERS: usize = 1_000;

    /// Checks names, functions and ranges.
    ///
    /// # Errors
    /// Every rule that is broken.
    pub(crate) fn check(name: &str, raw: RawAccount) -> Result<Self, Vec<AccountFault>> {
        let mut faults = Vec::new();
        let mut fault = |pointer: String, rule: String| faults.push(AccountFault { pointer, rule });
        if !is_label_value(name) {
            fault(String::new(), format!("{NAME_RULE}, not {:?}", shortened(name)));
        }
        let mut limits = BTreeMap::new();
        for (api, limit) in raw.limits {
            let pointer = json_pointer(["limits", &api]);
            if catalogue::find(&api).is_none() {
                fault(pointer, NO_FUNCTION.to_owned());
                continue;
            }
            match (Window::new(limit, WINDOW_MS), u32::try_from(limit)) {
                (Ok(_), Ok(limit)) => drop(limits.insert(api, limit)),
                (Err(error), _) => fault(pointer, format!("is out of range: {error}")),
                (Ok(_), Err(error)) => fault(pointer, format!("is out of range: {error}")),
            }
        }
        if raw.blocked.len() > Self::MAX_BLOCKED {
            fault("/blocked".to_owned(), format!("must have at most {} users", Self::MAX_BLOCKED));
        }
        let mut users = BTreeSet::new();
        // What is beyond the bound is one fault, whatever else is wrong with it.
        for (at, block) in raw.blocked.iter().enumerate().take(Self::MAX_BLOCKED) {
            if !is_label_value(&block.user) {
                fault(format!("/blocked/{at}/user"), NAME_RULE.to_owned());
            }
            if !users.insert(&block.user) {
                fault(
                    format!("/blocked/{at}/user"),
                    "stands twice; list all functions in one place".to_owned(),
                );
            }
            if block.apis.is_empty() {
                fault(format!("/blocked/{at}/apis"), "must list at least one function".to_owned());
            }
            for (nth, api) in block.apis.iter().enumerate() {
                if catalogue::find(api).is_none() {
                    fault(format!("/blocked/{at}/apis/{nth}"), NO_FUNCTION.to_owned());
                }
            }
        }
        check_users(&raw.users, &mut faults);
        if faults.is_empty() {
            Ok(Self { name: name.to_owned(), limits, blocked: raw.blocked, users: raw.users })
        } else {
            Err(faults)
        }
    }

    /// Checks a list in which every name may stand once.
    ///
    /// # Errors
    /// Every rule that is broken, in words.
    pub(crate) fn check_all(
        list: impl IntoIterator<Item = (String, RawAccount)>,
    ) -> Result<Vec<Self>, Vec<String>> {
        let (mut accounts, mut problems) = (Vec::<Self>::new(), Vec::new());
        let mut names = BTreeSet::new();
        for (name, raw) in list {
            let called = format!("account {:?}", shortened(&name));
            match Self::check(&name, raw) {
                Ok(account) => accounts.push(account),
                Err(faults) => problems.extend(faults.iter().map(|fault| format!("{called}: {fault}"))),
            }
            if !names.insert(name) {
                problems.push(format!("{called}: stands twice"));
            }
        }
        if problems.is_empty() { Ok(accounts) } else { Err(problems) }
    }

    /// What it may call of a function per minute.
    pub(in crate::manage::responsys) fn limit_of(&self, api: &catalogue::Api) -> u32 {
        self.limits.get(api.name).copied().unwrap_or(api.default_limit)
    }

    /// Whether this user may not call a function.
    pub(in crate::manage::responsys) fn blocks(&self, user: &str, api: &catalogue::Api) -> bool {
        let mut blocked = self.blocked.iter().filter(|block| block.user == user);
        blocked.any(|block| block.apis.iter().any(|name| name == api.name))
    }
}

fn check_users(users: &[String], faults: &mut Vec<AccountFault>) {
    let mut fault = |pointer: String, rule: String| faults.push(AccountFault { pointer, rule });
    if users.len() > Account::MAX_USERS {
        fault("/users".to_owned(), format!("must have at most {} users", Account::MAX_USERS));
    }
    let mut seen = BTreeSet::new();
    for (at, user) in users.iter().enumerate().take(Account::MAX_USERS) {
        if !is_label_value(user) {
            fault(format!("/users/{at}"), NAME_RULE.to_owned());
        }
        if !seen.insert(user) {
            fault(format!("/users/{at}"), "stands twice".to_owned());
        }
    }
}

const NAME_RULE: &str = "must have 1 to 256 bytes without control characters";
const NO_FUNCTION: &str = "is no function; GET /rest/api/ratelimit lists them";

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawAccount {
        serde_json::from_str(text).expect(text)
    }

    fn faults(name: &str, text: &str) -> Vec<(String, String)> {
        let faults = Account::check(name, raw(text)).expect_err(text);
        faults.into_iter().map(|fault| (fault.pointer, fault.rule)).collect()
    }

    #[test]
    fn an_accounts_own_limits_go_before_the_defaults() {
        let account =
            Account::check("acme", raw(r#"{"limits":{"mergeListRecipients":400}}"#)).expect("valid");
        let limit = |name: &str| account.limit_of(catalogue::find(name).expect(name));
        assert_eq!((limit("mergeListRecipients"), limit("login")), (400, 10));
        assert!(Account::check("acme", RawAccount::default()).is_ok());
    }

    #[test]
    fn every_broken_rule_is_told_with_its_place() {
        let text = r#"{"limits":{"a/b":1,"login":0,"mergeListRecipients":1000000001,"createFolder":-1},
            "blocked":[{"user":"","apis":[]},{"user":"u","apis":["login","nothing"]},{"user":"u","apis":["login"]}]}"#;
        let found = faults("a\u{7}", text);
        let at: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        let expected = [
            "",
            "/limits/a~1b",
            "/limits/createFolder",
            "/limits/login",
            "/limits/mergeListRecipients",
            "/blocked/0/user",
            "/blocked/0/apis",
            "/blocked/1/apis/1",
            "/blocked/2/user",
        ];
        assert_eq!(at, expected);
        assert!(found[3].1.contains("between 1 and 1000000000"), "{found:?}");
    }

    #[test]
    fn a_list_has_each_name_once() {
        let list = |names: &[&str]| -> Vec<(String, RawAccount)> {
            names.iter().map(|name| ((*name).to_owned(), RawAccount::default())).collect()
        };
        assert_eq!(Account::check_all(list(&["a", "b"])).expect("valid").len(), 2);
        let told = Account::check_all(list(&["a", "b", "a", ""])).expect_err("refused");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0] == "account \"a\": stands twice", "{told:?}");
        assert!(told[1].starts_with("account \"\": the name must have 1 to 256 bytes"), "{told:?}");
    }

    #[test]
    fn users_that_log_in_are_checked_like_other_names() {
        let account = Account::check("acme", raw(r#"{"users":["api","nightly"]}"#)).expect("valid");
        assert_eq!(account.users, ["api", "nightly"]);
        let found = faults("acme", r#"{"users":["","api","api"]}"#);
        let at: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(at, ["/users/0", "/users/2"]);
        let users = (0..=Account::MAX_USERS).map(|n| n.to_string()).collect();
        let refused = Account::check("a", RawAccount { users, ..RawAccount::default() }).expect_err("many");
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn there_are_bounds() {
        let blocked = (0..=Account::MAX_BLOCKED)
            .map(|n| Block { user: n.to_string(), apis: vec!["login".to_owned()] })
            .collect();
        let refused = Account::check("a", RawAccount { blocked, ..RawAccount::default() }).expect_err("many");
        assert_eq!(refused.len(), 1);
        assert_eq!(faults(&"x".repeat(257), "{}").len(), 1);
    }
}
