//! Which side is got hold of: the first of the plan's that can be had, tried again where none could, and where the plan or what it is about has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_fastpath::kernel::attach;
use outwork_fastpath::port::ways::Ways;
use outwork_fastpath::{Fastpath, Found, Settings};

use super::super::cables::Cables;
use super::super::held::Held;
use super::super::outlets::Outlets;
use super::super::plan::{Plan, Step};
use super::super::ports::Ports;
use super::super::{Status, discard};
use super::leaving::Leaving;
use super::{AGAIN, Work, tell};
use crate::config::Pins;

/// What has failed is tried again after [`AGAIN`], then after twice as long, and so on, at most after this.
const SELDOM: Duration = Duration::from_secs(60);
/// How long a queue is waited for that was another socket's until now, while a plan is taken up.
const TAKEOVER: Duration = Duration::from_secs(1);
/// A thread that ends twice within so long is not begun again.
const RECENTLY: Duration = Duration::from_secs(60);

/// When something that has failed is tried again.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    until: Instant,
    pause: Duration,
    pub(super) why: String,
}

impl Wait {
    /// After one more failure.
    pub(super) fn after(before: Option<&Wait>, why: String) -> Wait {
        let pause = before.map_or(AGAIN, |before| (before.pause * 2).min(SELDOM));
        Wait { until: Instant::now() + pause, pause, why }
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

impl Work {
    pub(super) fn take_up(&mut self, plan: Arc<Plan>) {
        let before = std::mem::replace(&mut self.plan, plan);
        (self.wait, self.waits) = (None, BTreeMap::new());
        if !self.plan.is_wanted() {
            self.let_go_later(&before);
            return;
        }
        self.leaving.is_needed();
        if !self.stays(&before) {
            self.let_go();
        }
        self.cables = self.see_cables();
        if self.held.is_some() {
            self.adjust();
            self.fill();
            let _ = self.attach(true, TAKEOVER);
        }
        self.seek();
    }

    /// Gets hold of the first step from here on that can be had.
    fn seek(&mut self) {
        let plan = Arc::clone(&self.plan);
        while self.held.is_none()
            && let Some(step) = plan.steps.get(self.at)
        {
            let is_last = self.at + 1 == plan.steps.len();
            let outcome = self.open().and_then(|()| {
                self.fill();
                self.attach(is_last, TAKEOVER)
            });
            match outcome {
                Ok(()) => drop(self.complaints.remove(step.word())),
                Err(why) => self.pass_over(step.word(), why, is_last),
            }
        }
        self.shared.end_holds();
        if let Some(Held::Ports(ports)) = &mut self.held {
            self.shared.holds.lock().extend(ports.not_inherited());
            self.shared.end_holds();
        }
        self.look_out();
        self.count();
    }

    /// Goes on to the next step. What is known already is not told again.
    fn pass_over(&mut self, word: &'static str, why: String, is_last: bool) {
        self.held = None;
        self.told.clear();
        self.at += 1;
        let is_news = self.complaints.insert(word, why.clone()).is_none_or(|before| before != why);
        let mut status = self.shared.status.lock();
        if is_last {
            if is_news {
                tracing::warn!(tier = word, why, "no tier can be had; sockets serve");
            }
            let skipped = std::mem::take(&mut status.skipped);
            self.wait = Some(Wait::after(self.wait.as_ref(), why.clone()));
            *status = Status { unavailable: Some(why), skipped, ..Status::default() };
            return;
        }
        if is_news {
            self.shared.metrics.fallbacks.inc();
            tracing::warn!(tried = word, why, "a tier cannot be had here; the next one is taken");
        }
        status.skipped.push((word, why));
    }

    /// Tries all steps once more.
    pub(super) fn try_again(&mut self) {
        self.at = 0;
        self.shared.status.lock().skipped.clear();
        self.cables = self.see_cables();
        self.seek();
        if self.held.is_some() {
            self.wait = None;
            tracing::info!("a tier can be had now");
        }
    }

    /// Goes on where the thread that forwards has ended: with another, or with the next step where that one ends as well. Its tables are given up, for nobody knows
    /// what it was about to do.
    pub(super) fn begin_anew(&mut self) {
        let word = self.plan.steps.get(self.at).map_or("ports", Step::word);
        let why = "the thread that forwards has ended, which is a fault of this program: what it said stands before this in the log";
        tracing::error!(
            tier = word,
            "the thread that forwards in user space has ended; interfaces are the kernel's until there is another"
        );
        self.held = None;
        self.told.clear();
        self.shared.count_interfaces(&[]);
        self.shared.status.lock().attached.clear();
        if !self.give_up_leaving() {
            return;
        }
        let is_often = self.died.replace(Instant::now()).is_some_and(|before| before.elapsed() < RECENTLY);
        if is_often {
            self.pass_over(word, why.to_owned(), self.at + 1 == self.plan.steps.len());
        }
        self.seek();
    }

    /// The cables among the interfaces of the plan.
    fn see_cables(&self) -> Cables {
        let names: BTreeSet<&str> = self.plan.steps.iter().flat_map(Step::interfaces).collect();
        Cables::look(names.into_iter())
    }

    /// Takes up what has become of cables: other ends come and go.
    pub(super) fn look_at_cables(&mut self) {
        let seen = self.see_cables();
        if seen != self.cables {
            self.cables = seen;
            self.adjust();
            self.fill();
        }
    }

    /// What tables are told.
    pub(super) fn settings(&self) -> Settings {
        let is_virtual = |step: &Step| matches!(step, Step::Dpdk(dpdk) if !dpdk.vdevs.is_empty());
        let is_virtual = self.plan.steps.get(self.at).is_some_and(is_virtual);
        Settings { has_cables: is_virtual || !self.cables.is_empty(), ..self.plan.settings }
    }

    /// Whether what is held can become what the plan wants. What the last plan fell back to stays, until the tiers are others.
    fn stays(&mut self, before: &Plan) -> bool {
        let Some(held) = self.plan.steps.first().filter(|_| self.held.is_some()) else { return false };
        let (new, old) = (&self.plan.steps, &before.steps);
        if new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.is_like(old)) {
            // What could not be had is tried where something of it is said otherwise.
            return !new.iter().zip(old).take(self.at).any(|(new, old)| new.may_mend(old));
        }
        let stays = old.get(self.at).is_some_and(|old| old.is_like(held));
        if stays {
            self.at = 0;
            self.shared.status.lock().skipped.clear();
        }
        stays
    }

    /// Gets hold of the side of a step.
    fn open(&mut self) -> Result<(), String> {
        let (plan, tables) = (Arc::clone(&self.plan), self.settings());
        self.ways.clear();
        self.outlets = Outlets::default();
        let held = match plan.steps.get(self.at) {
            Some(Step::Kernel(_)) => {
                self.shared.end_holds();
                let fastpath = self.open_kernel()?;
                self.ways_of_kernel = match Ways::open() {
                    Ok(ways) => Some(ways),
                    Err(error) => {
                        tracing::warn!(%error, "nobody knows here which backends no program leads to");
                        None
                    }
                };
                Held::Kernel(Box::new(fastpath))
            }
            Some(Step::AfXdp { modes, settings, .. }) => {
                self.shared.kept_by(&plan).into_iter().for_each(discard);
                let mut ports = Ports::of_af_xdp(tables, settings, modes)?;
                ports.inherit(std::mem::take(&mut *self.shared.holds.lock()));
                tracing::info!("tables of user space are ready");
                Held::Ports(Box::new(ports))
            }
            // Its environment is set up once in a process.
            Some(Step::Dpdk(_)) if self.complaints.contains_key("dpdk") => {
                return Err(self.complaints.get("dpdk").cloned().unwrap_or_default());
            }
            Some(Step::Dpdk(dpdk)) => {
                self.shared.kept_by(&plan).into_iter().for_each(discard);
                let ports = Ports::of_dpdk(tables, dpdk)?;
                ports.taken().for_each(|taken| tell(&self.shared, taken));
                Held::Ports(Box::new(ports))
            }
            None => return Err("no tier is named".to_owned()),
        };
        self.held = Some(held);
        self.shared.status.lock().unavailable = None;
        Ok(())
    }

    /// Where programs and tables of the kernel are to outlive the process.
    fn kept_in(&self) -> Result<Option<&Path>, String> {
        match (&self.plan.pins, &self.shared.pins) {
            (Pins::Nowhere, _) => Ok(None),
            (Pins::At(directory), _) | (Pins::Usual, Some(directory)) => Ok(Some(directory.as_path())),
            (Pins::Usual, None) => {
                Err("the data directory, which the place for `pins = true` is named by, was not there at the start: name a place (`pins`)".to_owned())
            }
        }
    }

    /// Loads the programs.
    fn open_kernel(&self) -> Result<Fastpath, String> {
        let directory = self.kept_in()?;
        let opened = Fastpath::open(self.settings(), directory);
        let (fastpath, found) = opened.map_err(|error| attach::reasons(&error))?;
        match &found {
            Found::Nothing => tracing::info!("programs for the kernel are loaded"),
            Found::Left { services } => {
                tracing::info!(services, "tables of an earlier process are taken over, and its flows go on");
            }
            Found::Replaced { why } => {
                tracing::warn!(why, "tables of an earlier process were of no use, and its flows are forgotten")
            }
        }
        Ok(fastpath)
    }

    pub(super) fn let_go(&mut self) {
        let cut = self.flows();
        if self.held.take().is_some() {
            tracing::info!("interfaces are left to the kernel");
            if cut > 0 {
                tracing::warn!(
                    flows = cut,
                    "flows that a tier has passed on are cut: it is gone, and sockets do not know them"
                );
            }
        }
        self.at = 0;
        self.told.clear();
        self.leaving = Leaving::default();
        self.shared.metrics.flows.set(0);
        self.outlets = Outlets::default();
        *self.shared.status.lock() = Status::default();
        self.shared.count_interfaces(&[]);
        self.count();
    }
}
