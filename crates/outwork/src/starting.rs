//! What would keep the server from starting, though every value can be read: what is missing on this machine.

use outwork_config::Fault;
use outwork_front::filter::{self, KitError};
use outwork_net::privileges;

use crate::certificates::Judgement;
use crate::remarks::{NO_FOLDER, missing};
use crate::settings::Settings;

/// What may be for the eyes of another user alone is remarked on.
pub(crate) const AS_WHOM: &str = "check as the user that the server runs as, or as root";

/// Looks at what a start needs, and starts nothing.
pub(crate) fn judge(settings: &Settings) -> Judgement {
    let mut judgement = Judgement::default();
    if let Some(user) = &settings.process.user
        && let Err(error) = privileges::ids(user)
    {
        let fault = Fault::new(error.to_string()).expected("a user of this machine");
        judgement.faults.push(("process.user".to_owned(), fault));
    }
    // Without a listener nothing of the front door is opened.
    if !settings.front.listener.is_empty() {
        judgement.front(settings);
    }
    judgement
}

impl Judgement {
    fn front(&mut self, settings: &Settings) {
        let front = &settings.front;
        let routes = front.route.iter().enumerate().map(|(index, route)| (Some(index), route.shared()));
        for (route, shared) in [(None, front.shared())].into_iter().chain(routes) {
            filter::missing(route, shared).iter().for_each(|error| self.middleware(error));
        }
        for (name, issuer) in &front.jwt_issuer {
            filter::missing_issuer(name, issuer).iter().for_each(|error| self.middleware(error));
        }
        for (index, route) in front.route.iter().enumerate() {
            if let Some(missing) = route.files.as_ref().and_then(|files| missing(&files.root, true, NO_FOLDER)) {
                let fault = missing.fault.expected("a folder");
                self.push(format!("front.route[{index}].files.root"), fault, missing.is_denial);
            }
        }
        if let Some(file) = front.access_log.as_ref().and_then(|log| log.file.as_ref()) {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(missing) = folder.and_then(|folder| missing(folder, true, NO_FOLDER)) {
                let fault = missing.fault.expected("a file in a folder that is there");
                self.push("front.access_log.file".to_owned(), fault, missing.is_denial);
            }
        }
    }

    /// What a start would say begins with the key.
    fn middleware(&mut self, error: &KitError) {
        let told = error.to_string();
        let (key, found) = told.split_once(": ").unwrap_or(("", &told));
        let fault = Fault::new(found).expected("a file that can be read and used");
        let fault = if error.is_denial() { fault.help(AS_WHOM) } else { fault };
        self.push(format!("front.{key}"), fault, error.is_denial());
    }

    fn push(&mut self, key: String, fault: Fault, is_denial: bool) {
        let list = if is_denial { &mut self.warnings } else { &mut self.faults };
        list.push((key, fault));
    }
}
