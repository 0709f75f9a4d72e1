//! One request at a time per asset.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::contract::message::AssetId;

/// The assets that are worked on now.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<AssetId, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until no other request in this process works on the asset; the turn ends when the guard is dropped.
    pub(super) async fn take(&self, asset: &AssetId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Bounds the map by what is in flight: entries that no request holds any more are swept when it has doubled.
            if turns.len() == turns.capacity() {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let held = turns.get(asset).and_then(Weak::upgrade);
            held.unwrap_or_else(|| {
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                turns.insert(asset.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_asset_is_worked_on_by_one_and_forgotten_afterwards() {
        let turns = Turns::default();
        let asset = AssetId::parse("a").unwrap();
        let turn = turns.take(&asset).await;
        assert!(futures_util::future::poll_immediate(Box::pin(turns.take(&asset))).await.is_none());
        drop(turn);
        for i in 0..1000 {
            drop(turns.take(&AssetId::parse(&format!("a{i}")).unwrap()).await);
        }
        assert!(turns.0.lock().unwrap().len() < 100);
    }
}
