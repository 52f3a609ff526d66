"""What all pages of the control room have around them, the sign-in page, and the page that says what went wrong."""

from web.auth import Session
from web.markup import Html, document, join, tag

_PAGES = (("/room", "Overview"), ("/room/invoices", "Invoices"))


def page(title: str, instance: str, session: Session, here: str, *content: object) -> Html:
    """A page for someone who is in; `here` is the address that the menu marks."""
    links = [tag("a", name, href=address, aria_current="page" if address == here else None) for address, name in _PAGES]
    leave = None
    if session.form_key is not None:
        leave = tag(
            "form", form_key(session), tag("button", "Sign out", class_="plain"), method="post", action="/room/sign-out"
        )
    top = tag(
        "header",
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("p", tag("b", "billingd"), " ", tag("span", instance, class_="instance"), class_="name"),
        tag("nav", links, aria_label="Pages"),
        tag("span", id="live", role="status"),
        leave,
        class_="top",
    )
    return _document(f"{title} · billingd {instance}", top, tag("main", *content, id="content", tabindex=-1))


def form_key(session: Session) -> Html | None:
    """The field that each form of a browser's session has."""
    if session.form_key is None:
        return None
    return tag("input", type="hidden", name="form_key", value=session.form_key)


def sign_in(onward: str, problem: str | None = None) -> Html:
    """The form that asks for the token; it says nothing of the daemon."""
    form = tag(
        "form",
        tag("h1", "billingd"),
        problem and tag("p", problem, class_="problem", role="alert"),
        tag("label", "Token of the control room", for_="token"),
        tag(
            "input",
            id="token",
            name="token",
            type="password",
            required=True,
            autofocus=True,
            autocomplete="current-password",
            maxlength=1000,
        ),
        tag("input", type="hidden", name="onward", value=onward),
        tag("button", "Sign in"),
        method="post",
        action="/room/sign-in",
        class_="sign-in",
    )
    return _document("Sign in · billingd", tag("main", form, id="content"))


def problem(instance: str, session: Session, title: str, text: str) -> Html:
    """A page that could not be made, and why."""
    return page(title, instance, session, "", tag("h1", title), tag("p", text, class_="problem", role="alert"))


def _document(title: str, *body: Html) -> Html:
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="/room/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/room/style.css"),
        tag("script", src="/room/app.js", defer=True),
    )
    return document(tag("head", head), tag("body", *body))
