//! What people ask of alerts: to take one on, to be quiet for a while. Whether it can be done is said with a reason.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use wardwatch_config::AlertSpec;
use wardwatch_model::terms::Severity;

use super::episode::{Acknowledged, EpisodeId, State};
use super::lifecycle;
use super::silence::{ActionId, Scope, Silence, SilenceKind};
use super::standing::OpenEpisodes;
use super::wards::Wards;

/// Something that a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What it is called.
    pub id: ActionId,
    /// When it was asked.
    pub at: DateTime<Utc>,
    /// Who asks.
    pub by: String,
    /// The note of an acknowledgement, the reason of a silence.
    pub note: String,
    /// What for.
    pub ask: Request,
}

impl Action {
    /// What somebody asks for at a time. The id is made of all that, so nobody asks for the same twice by accident.
    #[must_use]
    pub fn new(at: DateTime<Utc>, by: &str, note: &str, ask: Request) -> Self {
        let digest = Sha256::digest(format!("{}\n{by}\n{note}\n{ask:?}", at.timestamp_micros()).as_bytes());
        let id = ActionId(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect());
        Self { id, at, by: by.to_owned(), note: note.to_owned(), ask }
    }
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// To take an episode on.
    Acknowledge(EpisodeId),
    /// To be quiet about what `scope` covers, until a time.
    Quiet {
        /// A pause or a silence.
        kind: SilenceKind,
        /// What it covers.
        scope: Scope,
        /// Nothing above this severity is hidden; without it, nothing above what stands now in the scope.
        up_to: Option<Severity>,
        /// When it ends by itself.
        until: DateTime<Utc>,
    },
    /// To end a silence or a pause early.
    EndSilence(ActionId),
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The action.
    pub action: ActionId,
    /// Why it was not done; empty where it was.
    pub refusal: String,
    /// The silence as it is now, where the action is about one.
    pub silence: Option<Silence>,
}

impl OpenEpisodes {
    /// Does what people ask for, in the order in which they asked, and says what became of each.
    pub fn act(
        &mut self,
        actions: &[Action],
        policy: &AlertSpec,
        wards: &Wards,
        now: DateTime<Utc>,
        event_now: DateTime<Utc>,
    ) -> Vec<Answer> {
        self.silences.retain(|silence| silence.until > now);
        let answers = actions.iter().map(|action| {
            let done = match &action.ask {
                Request::Acknowledge(id) => self.acknowledge(action, id, (now, event_now)).map(|()| None),
                Request::Quiet { kind, scope, up_to, until } => {
                    self.be_quiet(action, (*kind, scope, *up_to, *until), policy, wards, now).map(Some)
                }
                Request::EndSilence(id) => self.end_silence(id, now).map(Some),
            };
            let (refusal, silence) = done.map_or_else(|refusal| (refusal, None), |silence| (String::new(), silence));
            Answer { action: action.id.clone(), refusal, silence }
        });
        answers.collect()
    }

    fn acknowledge(
        &mut self,
        action: &Action,
        id: &EpisodeId,
        (now, event_now): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<(), String> {
        let Some(episode) = self.iter().find(|episode| episode.id == *id).cloned() else {
            return Err(format!("episode {id} is over, or never was; `wardwatch alerts list` shows those that stand"));
        };
        if let Some(known) = &episode.handling.acknowledged {
            return Err(format!("{} has acknowledged it at {}", known.by, known.at.to_rfc3339()));
        }
        if episode.state == State::Pending {
            return Err(format!("episode {id} has not fired yet; there is nothing to acknowledge"));
        }
        let (mut episode, mut events) = (episode, Vec::new());
        // Reminders count from it, so it is not of a time to come, whatever whoever wrote it down by hand has said.
        let who = Acknowledged { at: action.at.min(now), by: action.by.clone(), note: action.note.clone() };
        lifecycle::acknowledge(&mut episode, who, event_now, &mut events);
        self.record(Arc::new(episode), events);
        Ok(())
    }

    fn be_quiet(
        &mut self,
        action: &Action,
        (kind, scope, up_to, until): (SilenceKind, &Scope, Option<Severity>, DateTime<Utc>),
        policy: &AlertSpec,
        wards: &Wards,
        now: DateTime<Utc>,
    ) -> Result<Silence, String> {
        if *scope == Scope::default() {
            return Err("a silence names a patient, a ward or a rule".to_owned());
        }
        // Whoever writes a request down by hand may be ahead of the job's clock; a pause is no longer for that.
        let asked_at = action.at.min(now);
        let longest = asked_at + TimeDelta::from_std(policy.longest_pause).unwrap_or(TimeDelta::zero());
        let until = if kind == SilenceKind::Pause { until.min(longest) } else { until };
        if until <= now {
            return Err(format!("it would have ended at {}", until.to_rfc3339()));
        }
        // What somebody has not seen yet may be worse than what they want to be quiet about.
        let worst = || {
            let standing = self.iter().filter(|episode| episode.state.is_shown() && scope.covers(episode, wards));
            standing.map(|episode| episode.severity).max().unwrap_or(Severity::Low)
        };
        let silence = Silence {
            id: action.id.clone(),
            kind,
            scope: scope.clone(),
            up_to: up_to.unwrap_or_else(worst),
            from: asked_at,
            until,
            by: action.by.clone(),
            reason: action.note.clone(),
        };
        self.silences.push(silence.clone());
        Ok(silence)
    }

    fn end_silence(&mut self, id: &ActionId, now: DateTime<Utc>) -> Result<Silence, String> {
        let found = self.silences.iter().position(|silence| silence.id == *id);
        let Some(index) = found else { return Err(format!("silence {id} is over, or never was")) };
        let mut silence = self.silences.remove(index);
        silence.until = now;
        Ok(silence)
    }
}
