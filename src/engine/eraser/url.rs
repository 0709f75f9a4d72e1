//! The asset's own URL, asked once after its deletion. What it says changes no outcome: a content delivery network may serve
//! its copy for a while.

use super::Run;

impl Run<'_> {
    /// Asks whether the URL that the detail call gave still serves bytes, where that is wanted: after a backup, or always.
    pub(super) async fn ask_url(&mut self) {
        let wanted = self.eraser.settings.provider.verify_url || self.record.backup.is_some();
        let Some(asset) = self.asset.as_ref().filter(|asset| wanted && asset.url.is_some()) else { return };
        self.url_serves = self.eraser.backups.url_serves(asset).await;
        self.eraser.metrics.url_asked(self.url_serves);
    }
}
