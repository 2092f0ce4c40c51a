//! The rules of `[responsys]`, as far as they can be told without the functions of Responsys.

use crate::config::check::Checker;
use crate::config::{Responsys, ResponsysAccount};

impl Checker<'_> {
    pub(super) fn responsys(&mut self) -> Option<Responsys> {
        let limit_status = self.error_status("responsys.limit_status");
        let blocked_status = self.error_status("responsys.blocked_status");
        let accounts: Option<Vec<ResponsysAccount>> = self.tables("responsys.accounts", "name");
        Some(Responsys { limit_status: limit_status?, blocked_status: blocked_status?, accounts: accounts? })
    }

    fn error_status(&mut self, setting: &str) -> Option<u16> {
        u16::try_from(self.number(setting, 400..=599)?).ok()
    }
}
