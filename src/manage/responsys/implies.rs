//! Which account, user and function a call has (contract.md 5) when its event does not say so.
//!
//! Must not know: how the limits of functions are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::Call;
use crate::manage::dialect::Implies;
use crate::manage::place::Place;
use crate::manage::responsys::ResponsysOptions;
use crate::manage::responsys::objects::account::Account;
use crate::manage::responsys::objects::catalogue::Api;
use crate::manage::responsys::objects::functions::{functions, is_of_the_api};
use crate::manage::responsys::objects::token::Token;

/// What calls imply while these accounts are known; `None` without accounts, which have no limits.
pub(super) fn implies(options: &ResponsysOptions, accounts: Vec<Account>) -> Option<Implies> {
    if accounts.is_empty() {
        return None;
    }
    let reader = Reader {
        account_in: options.account_in.clone(),
        user_in: options.user_in.clone(),
        accounts: accounts.into_iter().map(|account| (account.name.clone(), account)).collect(),
    };
    Some(Arc::new(move |call| reader.labels(call)))
}

struct Reader {
    account_in: Option<Place>,
    user_in: Option<Place>,
    accounts: BTreeMap<String, Account>,
}

impl Reader {
    fn labels(&self, call: &Call<'_>) -> Vec<(&'static str, String)> {
        if !is_of_the_api(call.url.path()) {
            return Vec::new();
        }
        let (account, user) = match Token::of(call.headers) {
            Some(token) => (token.account, Some(token.user)),
            None => (None, None),
        };
        let account = account.or_else(|| find(self.account_in.as_ref(), call));
        let user = user.or_else(|| find(self.user_in.as_ref(), call));
        let api = if call.own.get("api").is_some() {
            None
        } else {
            self.function(call, account.as_deref(), user.as_deref())
        };
        let all = [("account", account), ("user", user), ("api", api.map(|api| api.name.to_owned()))];
        all.into_iter().filter_map(|(label, value)| Some((label, value?))).collect()
    }

    /// Of the functions that a call may be the one with the tightest limit for its account and user.
    fn function(&self, call: &Call<'_>, account: Option<&str>, user: Option<&str>) -> Option<&'static Api> {
        // As the labels of the event will be: its own one, what is implied, the default.
        let known =
            |label: &str, implied| call.own.get(label).or(implied).or_else(|| call.fallback.get(label));
        let account = known("account", account).and_then(|name| self.accounts.get(name));
        let user = known("user", user);
        let limit = |api: &&'static Api| match account {
            Some(account) if user.is_some_and(|user| account.blocks(user, api)) => 0,
            Some(account) => account.limit_of(api),
            None => api.default_limit,
        };
        functions(call).into_iter().min_by_key(limit)
    }
}

fn find(place: Option<&Place>, call: &Call<'_>) -> Option<String> {
    place?.find(call).map(std::borrow::Cow::into_owned)
}
