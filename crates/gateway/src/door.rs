//! The doors by which messages come, and why one does not get in.

/// By which door a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Mllp,
    Http,
    Mqtt,
}

impl Via {
    pub(crate) const ALL: [Self; 3] = [Self::Mllp, Self::Http, Self::Mqtt];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mllp => "mllp",
            Self::Http => "http",
            Self::Mqtt => "mqtt",
        }
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It will never be.
    #[error("the message is longer than {longest} bytes")]
    TooLong {
        /// What is allowed.
        longest: usize,
    },
    /// It will never be, while the topic is as it is.
    #[error("Kafka's topic does not take a message of {bytes} bytes; its bound is max.message.bytes")]
    TooLongForKafka {
        /// So many it has.
        bytes: usize,
    },
    /// It will never be.
    #[error("{0}")]
    Unreadable(String),
    /// It has not come whole; sent again it may be.
    #[error("{0}")]
    Unfinished(&'static str),
    /// Others wait; later it may be.
    #[error("there is no room for it now; send it again later")]
    Full,
    /// Later it may be.
    #[error("Kafka did not take it; send it again later")]
    Unavailable,
}

impl Refusal {
    /// The names that they have in metrics.
    pub(crate) const NAMES: [&str; 5] = ["too_long", "unreadable", "unfinished", "full", "unavailable"];

    /// Whether it is of no use to send the message again as it is.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::TooLongForKafka { .. } | Self::Unreadable(_))
    }

    /// Which of [`Self::NAMES`] it has.
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::TooLong { .. } | Self::TooLongForKafka { .. } => 0,
            Self::Unreadable(_) => 1,
            Self::Unfinished(_) => 2,
            Self::Full => 3,
            Self::Unavailable => 4,
        }
    }
}
