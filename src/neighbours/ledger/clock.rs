//! The ledger's clock: that of the database server, or for a file that of this machine. Every age and every window goes by
//! it, so that one worker with a wrong clock neither opens the brake nor makes requests old.

use jiff::Timestamp;

use super::Token;

/// Where times and tokens come from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Clock {
    /// The ledger's own clock, and random tokens.
    #[default]
    Own,
    /// A time of a test; tokens count the attempts.
    #[cfg(test)]
    Fixed(Timestamp),
}

impl Clock {
    /// The time, to the millisecond, where the ledger's own clock says `own`.
    pub(super) fn time(self, own: Timestamp) -> Timestamp {
        to_millisecond(match self {
            Self::Own => own,
            #[cfg(test)]
            Self::Fixed(now) => now,
        })
    }

    /// The token of a new attempt, the request's attempt number `attempts`.
    pub(super) fn token(self, attempts: u32) -> Token {
        let _ = attempts;
        match self {
            Self::Own => Token::random(),
            #[cfg(test)]
            Self::Fixed(_) => Token(attempts.into()),
        }
    }
}

/// What every ledger keeps of a time, so that every ledger answers alike before and after a restart.
pub(super) fn to_millisecond(time: Timestamp) -> Timestamp {
    // Cannot fail: towards zero there is always a representable time.
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}
