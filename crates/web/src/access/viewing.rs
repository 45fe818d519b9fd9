//! Who looks at a patient is written down first.

use wardwatch_store::StoreError;

use super::visitor::Visitor;
use crate::app::App;

/// Writes into the audit that a visitor sees something, before it is shown; what cannot be written is not shown. While the store
/// does not answer, there is nothing to be shown but what was read before: that is written when the store is back.
pub(crate) async fn audit_view(app: &App, visitor: &Visitor, subject: &str) -> Result<(), StoreError> {
    if app.access.has_seen(visitor, subject) {
        return Ok(());
    }
    let entry = visitor.audit_entry("see", subject, "");
    let late = entry.clone();
    match app.stores.with(move |store| store.note_audit(&entry)).await {
        Ok(()) => {
            app.access.remember_seen(visitor, subject);
            Ok(())
        }
        Err(StoreError::Unavailable(_)) if app.access.late.add(late) => {
            app.access.remember_seen(visitor, subject);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
