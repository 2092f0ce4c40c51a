//! The manual where the program runs: its chapters at `/docs`, each of them at `/docs/{chapter}`.
//!
//! Must not know: what the chapters say.

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::html::{self, escaped};
use crate::manual::{CHAPTERS, Chapter, chapter};
use crate::problem::doc::refuses;
use crate::problem::{Problem, codes};
use crate::telemetry::defect;

/// `/docs` and what is below it, but `/docs/api`.
pub(super) fn routes() -> Router {
    Router::new().route("/docs", get(async || docs())).route("/docs/{chapter}", get(docs_chapter))
}

refuses! {
    /// What a route that only shows something may be refused with.
    Nothing: ;
    /// What a route that shows something under a name may be refused with.
    Named: NOT_FOUND;
}

/// The manual
///
/// Its chapters with links to them, as a page of plain HTML.
#[utoipa::path(
    get, path = "/docs", tag = "description", operation_id = "docs",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"), Nothing),
)]
fn docs() -> Response {
    let entry = |chapter: &Chapter| {
        let (name, title) = (chapter.name, escaped(chapter.title()));
        let sections = chapter.sections();
        let sections = sections
            .iter()
            .map(|(id, title)| format!("<a href=\"/docs/{name}#{}\">{}</a>", escaped(id), escaped(title)));
        let sections = sections.collect::<Vec<_>>().join(" · ");
        format!(
            "<li><a href=\"/docs/{name}\">{title}</a>{}{sections}</li>\n",
            if sections.is_empty() { "" } else { "<br>" }
        )
    };
    let chapters: String = CHAPTERS.iter().map(entry).collect();
    let version = env!("CARGO_PKG_VERSION");
    let body = format!(
        "<h1>tidegate {version}</h1>\n<ol>\n{chapters}</ol>\n\
         <p>All routes: <a href=\"/docs/api\">the API</a>; for programs <a href=\"/openapi.json\">/openapi.json</a>. \
         In a terminal: <code>tidegate manual</code>.</p>\n"
    );
    html::respond(html::page("tidegate: manual", &body))
}

/// A chapter of the manual
///
/// As a page of plain HTML. `/docs` lists the chapters.
#[utoipa::path(
    get, path = "/docs/{chapter}", tag = "description", operation_id = "docs_chapter",
    params(("chapter" = String, Path, description = "The name of the chapter, such as `events`.")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"), Named),
)]
async fn docs_chapter(name: Result<Path<String>, PathRejection>) -> Response {
    // What is no text names no chapter.
    let Some(chapter) = name.ok().and_then(|Path(name)| chapter(&name)) else {
        let detail = "the manual has no such chapter; GET /docs lists them";
        return Problem::of(codes::NOT_FOUND, detail).into_response();
    };
    let body = format!(
        "<p><a href=\"/docs\">tidegate: manual</a></p>\n{}{}",
        chapter.html("/docs/"),
        neighbours(chapter)
    );
    html::respond(html::page(&format!("tidegate: {}", chapter.title()), &body))
}

/// Links to the chapters before and after it.
fn neighbours(chapter: &Chapter) -> String {
    let at = CHAPTERS.iter().position(|known| known == chapter);
    defect!(unless at.is_some(), "a chapter that is not among the chapters");
    let at = at.unwrap_or_default();
    let link = |at: usize, word: &str| {
        let chapter = CHAPTERS.get(at)?;
        Some(format!("{word}: <a href=\"/docs/{}\">{}</a>", chapter.name, escaped(chapter.title())))
    };
    let before = at.checked_sub(1).and_then(|at| link(at, "Previous"));
    let links: Vec<_> = before.into_iter().chain(link(at + 1, "Next")).collect();
    format!("<hr>\n<p>{}</p>\n", links.join(" · "))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn shown(response: Response) -> String {
        assert!(
            response.headers()["content-security-policy"]
                .to_str()
                .expect("text")
                .starts_with("default-src 'none'")
        );
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    /// All pages by their paths, `/docs/api` and the description as empty ones.
    async fn pages() -> Vec<(String, String)> {
        let mut pages = vec![("/docs".to_owned(), shown(docs()).await)];
        for chapter in CHAPTERS {
            let page = shown(docs_chapter(Ok(Path(chapter.name.to_owned()))).await).await;
            pages.push((format!("/docs/{}", chapter.name), page));
        }
        pages.extend(["/docs/api", "/openapi.json"].map(|path| (path.to_owned(), String::new())));
        pages
    }

    #[tokio::test]
    async fn every_link_of_the_manual_leads_to_a_page_or_place_of_it() {
        let pages = pages().await;
        let mut broken = Vec::new();
        let mut count = 0;
        for (path, page) in &pages {
            assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("<link"), "{path}");
            let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
            for link in links.filter(|link| !link.starts_with("https://")) {
                let (to, place) = link.split_once('#').unwrap_or((link, ""));
                let to = if to.is_empty() { path.as_str() } else { to };
                let target = pages.iter().find(|(path, _)| path == to);
                let has_place = |page: &str| place.is_empty() || page.contains(&format!("id=\"{place}\""));
                if !target.is_some_and(|(_, page)| has_place(page)) {
                    broken.push(format!("{path}: {link}"));
                }
                count += 1;
            }
        }
        assert!(count > 3 * CHAPTERS.len(), "{count}");
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[test]
    fn every_route_is_in_the_chapter_on_the_api() {
        let chapter = chapter("http-api").expect("a chapter");
        let rows = chapter.text.lines().filter(|line| line.starts_with("| `"));
        let cells = rows.filter_map(|row| row.trim_start_matches("| ").split(" | ").next());
        let known: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let document = crate::app::api_doc();
        let paths = document["paths"].as_object().expect("paths").keys();
        let covers = |path: &str| {
            let path = path.trim_start_matches("/{organization}");
            let path = path.replacen("/journey/orchestration", "/authoring", 1).replacen("/list/", "/", 1);
            known.iter().any(|known| path.starts_with(known))
        };
        let missing: Vec<_> = paths.filter(|path| !covers(path)).collect();
        assert!(missing.is_empty(), "no row for {missing:#?}");
        assert!(!covers("/v1/nothing") && !covers("/nothing"));
    }

    #[tokio::test]
    async fn an_unknown_chapter_is_not_found() {
        for path in ["/docs/tides", "/docs/%ff", "/docs/events/x"] {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            let response = routes().oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let response = docs_chapter(Ok(Path("tides".to_owned()))).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
