//! What the dialects' parts of the API description have in common.
//!
//! Must not know: any one dialect.

use utoipa::openapi::OpenApi;

/// The same routes under each of `bases`. The operations of all but the first one have its name in their ids, which are
/// unique in a document.
pub(super) fn under_each(bases: &[&str], doc: &OpenApi) -> OpenApi {
    let mut whole = doc.clone();
    whole.paths.paths.clear();
    for (nth, base) in bases.iter().enumerate() {
        let mut routes = doc.clone();
        let name = base.replace('/', "_");
        // The ids under the first base stay as they are: clients are generated from them.
        for item in routes.paths.paths.values_mut().filter(|_| nth > 0) {
            let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            let ids = methods.into_iter().flatten().filter_map(|operation| operation.operation_id.as_mut());
            ids.for_each(|id| *id = format!("{id}{name}"));
        }
        whole = whole.nest(*base, routes);
    }
    whole
}
