//! HTTP API of the page: what is asked, the next item, labels, undo, one's own labels; for admins also counts and exports.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State as Shared};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::State;
use super::page::page;
use crate::error::{Error, Result};
use crate::export::{Form, Layout, Naming, records};
use crate::label::Label;
use crate::render::parts;
use crate::store::{Annotator, ItemId, LabelProgress, Store, Task, new_token};
use crate::summary::summary;

/// Maximum size of a request body. It is sufficient for a label (an answer's index, ratings and a comment) and limits
/// the effect of floods of requests.
const LARGEST_BODY: usize = 64 << 10;

pub(super) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/api/next", get(next))
        .route("/api/label", post(label))
        .route("/api/undo", post(undo))
        .route("/api/setup", get(setup))
        .route("/api/own/{back}", get(own))
        .route("/api/revise", post(revise))
        .route("/api/summary", get(sum_up))
        .route("/api/export/{form}/{format}", get(export))
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "there is nothing here".to_string()) })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(state)
}

/// Content of the page.
#[derive(Serialize)]
pub(super) struct Shown {
    person: String,
    is_admin: bool,
    progress: LabelProgress,
    /// The next item to label; `None` if no item is left for this annotator.
    task: Option<Task>,
    /// The annotator's previous label of the item, after an undo, or of an item that is looked at again.
    said: Option<Label>,
    /// Number of labels since this one, from 1 for the last, if the item is looked at again.
    back: Option<u64>,
}

/// Content of the page, with its texts as HTML.
#[derive(Serialize)]
struct Rendered {
    #[serde(flatten)]
    shown: Shown,
    /// HTML of each message of the prompt, or of its one text.
    prompt_html: Vec<String>,
    /// The same of each answer, as shown.
    answers_html: Vec<Vec<String>>,
}

/// A label for the answers in the order shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    item: ItemId,
    label: Label,
    seconds: f64,
    /// Key of this change. A repetition of a call with its key changes nothing.
    #[serde(default)]
    key: Option<String>,
}

/// Another label for an item that was labelled before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revised {
    item: ItemId,
    label: Label,
    /// Key of this change, as of a label.
    #[serde(default)]
    key: Option<String>,
}

/// Body of an undo request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undo {
    /// Key of this change, as of a label.
    #[serde(default)]
    key: Option<String>,
}

async fn show_page(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Response {
    // A page of another origin may use a host name that resolves to this server (DNS rebinding). It must not read the
    // key.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let key = state.local.as_ref().filter(|_| is_loopback(host)).map_or("", |local| &local.key);
    page(&new_token(), key)
}

async fn next(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Answer<Response> {
    on_store(state, headers, shown).await
}

async fn setup(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Answer<Response> {
    on_store(Arc::clone(&state), headers, shown).await?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(&state.setup)).into_response())
}

async fn own(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Path(back): Path<u64>) -> Answer<Response> {
    on_store(state, headers, move |store, person| {
        let own = store.own_label(person, back)?;
        let own = own.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there are fewer than {back} labels")))?;
        Ok(Shown {
            person: person.name.clone(),
            is_admin: person.is_admin,
            progress: store.progress(person)?,
            task: Some(own.task),
            said: Some(own.label),
            back: Some(back),
        })
    })
    .await
}

async fn revise(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Body(given): Body<Revised>) -> Answer<Response> {
    on_store(state, headers, move |store, person| {
        store.revise_once(person, given.key.as_deref(), given.item, &given.label)?;
        shown(store, person)
    })
    .await
}

async fn label(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Body(given): Body<Given>) -> Answer<Response> {
    on_store(state, headers, move |store, person| {
        store.submit_once(person, given.key.as_deref(), given.item, &given.label, given.seconds)?;
        shown(store, person)
    })
    .await
}

async fn undo(Shared(state): Shared<Arc<State>>, headers: HeaderMap, Body(given): Body<Undo>) -> Answer<Response> {
    on_store(state, headers, move |store, person| {
        let undone = store.undo_once(person, given.key.as_deref())?;
        let shown = shown(store, person)?;
        // Other labels may have been given since an undo that is repeated.
        let is_shown = |(task, _): &(Task, Label)| shown.task.as_ref().is_some_and(|shown| shown.item == task.item);
        let said = undone.filter(is_shown).map(|(_, label)| label);
        Ok(Shown { said, ..shown })
    })
    .await
}

async fn sum_up(Shared(state): Shared<Arc<State>>, headers: HeaderMap) -> Answer<Response> {
    beside_store(state, headers, |store| Ok(Json(summary(store)?))).await
}

async fn export(
    Shared(state): Shared<Arc<State>>,
    headers: HeaderMap,
    Path((form, format)): Path<(String, String)>,
) -> Answer<Response> {
    beside_store(state, headers, move |store| {
        let unknown = |name: &str| Refusal(StatusCode::NOT_FOUND, format!("{name}: no such form or format"));
        let wanted = Form::named(&form).ok_or_else(|| unknown(&form))?;
        let layout = Layout::named(&format).ok_or_else(|| unknown(&format))?;
        let records = records(store, wanted, Naming::Pseudonyms)?;
        let bytes = layout.encode(&records).map_err(|reason| Refusal(StatusCode::CONFLICT, reason))?;
        let headers = [
            (CONTENT_TYPE, "application/octet-stream".to_string()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{form}.{format}\"")),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_string()),
        ];
        Ok((headers, bytes))
    })
    .await
}

fn shown(store: &mut Store, person: &Annotator) -> Answer<Shown> {
    let task = store.next(person)?;
    let progress = store.progress(person)?;
    Ok(Shown { person: person.name.clone(), is_admin: person.is_admin, progress, task, said: None, back: None })
}

/// Authenticates the annotator, and runs the work on the store. Its texts are rendered beside the store, so that nobody
/// waits for a long one.
async fn on_store(
    state: Arc<State>,
    headers: HeaderMap,
    work: impl FnOnce(&mut Store, &Annotator) -> Answer<Shown> + Send + 'static,
) -> Answer<Response> {
    let writer = state.writer.clone();
    let shown = writer
        .answer(move |store| {
            let person = who(&state, store, &headers)?;
            work(store, &person)
        })
        .await?;
    let rendered = tokio::task::spawn_blocking(move || Json(rendered(shown)).into_response()).await;
    let rendered = rendered.map_err(|error| Refusal::broken(&error.to_string()))?;
    Ok(([(CACHE_CONTROL, "no-store")], rendered).into_response())
}

fn rendered(shown: Shown) -> Rendered {
    let prompt_html = shown.task.as_ref().map(|task| parts(&task.prompt)).unwrap_or_default();
    let answers_html = shown.task.iter().flat_map(|task| &task.answers).map(parts).collect();
    Rendered { shown, prompt_html, answers_html }
}

/// The same on a connection of its own, for an admin: reading all labels keeps nobody from labelling.
async fn beside_store<T: IntoResponse + 'static>(
    state: Arc<State>,
    headers: HeaderMap,
    work: impl FnOnce(&Store) -> Answer<T> + Send + 'static,
) -> Answer<Response> {
    let done = tokio::task::spawn_blocking(move || {
        let mut store = Store::open(&state.file)?;
        let person = who(&state, &store, &headers)?;
        refuse_others(&person)?;
        store.begin_reading()?;
        Ok(([(CACHE_CONTROL, "no-store")], work(&store)?).into_response())
    });
    done.await.map_err(|error| Refusal::broken(&error.to_string()))?
}

fn who(state: &State, store: &Store, headers: &HeaderMap) -> Answer<Annotator> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let unknown = |reason: &str| Refusal(StatusCode::UNAUTHORIZED, reason.to_string());
    let token = token.filter(|token| !token.is_empty()).ok_or_else(|| unknown("open the link with your token"))?;
    if let Some(local) = state.local.as_ref().filter(|local| local.key == token) {
        return Ok(local.person.clone());
    }
    store.holder(token)?.ok_or_else(|| unknown("this token opens nothing (any more); ask for a new link"))
}

fn refuse_others(person: &Annotator) -> Answer<()> {
    match person.is_admin {
        true => Ok(()),
        false => Err(Refusal(StatusCode::FORBIDDEN, "only admins see this".to_string())),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

pub(super) type Answer<T> = Result<T, Refusal>;

/// Error response: `{"error": "..."}`.
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    /// Failure of this program.
    pub fn broken(reason: &str) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, reason.to_string())
    }

    /// A change that could not be stored.
    pub fn unavailable(error: &Error) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::UnknownItem(_) => StatusCode::NOT_FOUND,
            Error::NotGiven { .. } | Error::NotLabelled { .. } => StatusCode::FORBIDDEN,
            Error::AlreadyLabelled { .. } => StatusCode::CONFLICT,
            Error::Label { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Store { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

/// A body with the content type JSON. A form of another page cannot send it.
struct Body<T>(T);

impl<T: serde::de::DeserializeOwned> FromRequest<Arc<State>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, Refusal> {
        let Json(body) = tokio::time::timeout(state.limits.body, Json::<T>::from_request(request, state))
            .await
            .map_err(|_| Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_string()))?
            .map_err(|wrong| Refusal(wrong.status(), wrong.body_text()))?;
        Ok(Self(body))
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:7878", "[::1]:7878", "[::1]", "127.8.8.8"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "10.0.0.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
