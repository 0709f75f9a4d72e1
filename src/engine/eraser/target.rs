//! The target: is the asset there, and is it the one that was meant?

use super::{End, Run, Sight};
use crate::contract::message::{Cause, Outcome, Request};
use crate::neighbours::provider::Detail;

impl Run<'_> {
    /// Is the asset there, and is it the one that was meant?
    pub(super) async fn confirm_target(&mut self) -> Result<(), End> {
        let settings = &self.eraser.settings.provider;
        let needed = self.request.expect.is_some() || self.record.deletes > 0 || self.wants_backup();
        if !settings.confirm_target && !needed {
            return Ok(());
        }
        let found = match self.look_twice().await? {
            Sight::Present(found) => found,
            Sight::Gone(absence) => return Err(Box::pin(self.gone_meanwhile(absence)).await?.into()),
        };
        let mismatch = mismatch(self.request, &found);
        self.asset = Some(found);
        mismatch.map_or(Ok(()), |outcome| Err(outcome.into()))
    }
}

fn mismatch(request: &Request, found: &Detail) -> Option<Outcome> {
    let expect = request.expect.as_ref()?;
    let differs = |field: &str, wanted: Option<&String>, is: Option<&String>| {
        wanted.filter(|wanted| Some(*wanted) != is).map(|wanted| {
            let is = is.map_or("nothing", String::as_str);
            Outcome::rejected(Cause::AssetMismatch, format!("expected {field} {wanted:?}, the provider says {is:?}"))
        })
    };
    differs("asset_type", expect.asset_type.as_ref(), found.asset_type.as_ref())
        .or_else(|| differs("name", expect.name.as_ref(), found.name.as_ref()))
}
