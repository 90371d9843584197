"""The pages for a browser: an overview at `/`, all resources, and one page a resource that starts and ends streams.

HTML without scripts or requests to other hosts; light or dark as the reader's system is. The
templates escape every value, and the control queries that supply them mask secrets.
With a control token, every page needs it: who signs in gets a cookie. A form is accepted only from these pages.
"""

from __future__ import annotations

import functools
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from reconciler.sandbox.control import Control
from reconciler.sandbox.model import JsonDict, iso8601
from reconciler.sandbox.registry import SERVICES
from reconciler.sandbox.settings import ControlError
from reconciler.sandbox.state.logs import event_name
from reconciler.sandbox.wire import Request, Response, parse_position

if TYPE_CHECKING:
    import jinja2

ROWS = 25
PAGE = 50
REFRESH_SECONDS = 5
_TEMPLATES = Path(__file__).parent / "templates"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", _POLICY),
    ("Cache-Control", "no-store"),
    # Without a referrer at all, browsers would send no origin with forms.
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
)
_FORM_TYPE = "application/x-www-form-urlencoded"
_RESTRICTIONS = (
    ("account", "account"),
    ("region", "region"),
    ("access_key", "access key"),
    ("arn", "ARN"),
    ("code", "code"),
)
_CAPITAL = re.compile(r"([A-Z])")
_DONE = {"start": "Stream started.", "stop": "Stream stopped.", "change": "Stream changed."}
# Each channel has one: among all resources, they are shown only to who asks for them.
_STREAM_KEY = "stream-key"


class Pages:
    """The pages of one sandbox."""

    def __init__(self, control: Control, state: str, token: str, client_settings: Callable[[str], str]) -> None:
        """Take the control operations, where the state is kept, and the token that the pages need, "" for none.

        client_settings: returns what an AWS client needs for an endpoint URL.
        """
        self._control = control
        self._state = state
        self._token = token
        self._client_settings = client_settings
        # The token of a signed-in browser; each process has its own.
        self._session = os.urandom(24).hex()
        self._paths = {
            "/": self._overview,
            "/resources": self._resources,
            "/resource": self._resource,
            "/sign-in": self._sign_in,
        }

    def serves(self, request: Request) -> bool:
        """Return whether a request is for a page; SDKs send an authorization and other paths."""
        methods = ("GET", "HEAD", "POST") if request.path in ("/resource", "/sign-in") else ("GET", "HEAD")
        return request.path in self._paths and request.method in methods and "authorization" not in request.headers

    def answer(self, request: Request) -> Response:
        """Return a page, or the answer to a form."""
        if request.method == "POST":
            if not _is_own_form(request):
                return _page(
                    403, "message.html", heading="Refused", text="This form was not sent from a page of the sandbox."
                )
            if request.path != "/sign-in" and not self._is_signed_in(request):
                return self._sign_in_page(request, 403)
        elif not self._is_signed_in(request):
            return self._sign_in_page(request, 401)
        return self._paths[request.path](request)

    def _is_signed_in(self, request: Request) -> bool:
        if not self._token:
            return True
        try:
            given = SimpleCookie(request.headers.get("cookie", "")).get(_cookie_name(request))
        except CookieError:
            return False
        return given is not None and hmac.compare_digest(given.value.encode(), self._session.encode())

    def _sign_in_page(self, request: Request, status: int, text: str = "") -> Response:
        back = f"{request.path}?{request.query}" if request.path != "/sign-in" and request.method != "POST" else "/"
        return _page(status, "sign_in.html", text=text, back=back.removesuffix("?"))

    def _sign_in(self, request: Request) -> Response:
        if request.method != "POST" or not self._token:
            return _redirect("/")
        form = _form(request)
        if not hmac.compare_digest(form.get("token", "").strip().encode(), self._token.encode()):
            return _page(403, "sign_in.html", text="The token is wrong.", back=_own_path(form.get("back", "")))
        cookie = f"{_cookie_name(request)}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        return _redirect(_own_path(form.get("back", "")), ("Set-Cookie", cookie))

    def _overview(self, request: Request) -> Response:
        host = request.headers.get("host", "")
        settings = self._client_settings(f"http://{host}") if host else ""
        text = render(self._control, self._state, refreshing="refresh" in request.query, settings=settings)
        return Response(200, _HEADERS, text.encode())

    def _resources(self, request: Request) -> Response:
        """Return a page of the list of resources, restricted by the query."""
        query = dict(parse_qsl(request.query))
        chosen = {name: query.get(name, "")[:1000] for name in ("text", "kind", "account", "region")}
        without = "" if chosen["text"] or chosen["kind"] else _STREAM_KEY
        everything = self._control.kinds(**{**chosen, "kind": ""})
        total = sum(n for kind, n in everything.items() if kind == (chosen["kind"] or kind) and kind != without)
        last = max(1, -(-total // PAGE))
        number = min(max(1, parse_position(query.get("page", "")) or 1), last)
        rows = self._control.inventory(limit=PAGE, offset=(number - 1) * PAGE, without=without, **chosen)
        return _page(
            200,
            "resources.html",
            chosen=chosen,
            kinds=[(type_, title, everything.get(type_, 0)) for type_, title in _titles()],
            worlds=self._control.worlds(),
            rows=rows,
            total=total,
            first=(number - 1) * PAGE + 1,
            number=number,
            last=last,
            link=lambda **changes: _link(
                "/resources", {**chosen, **{name: str(value) for name, value in changes.items()}}
            ),
        )

    def _resource(self, request: Request) -> Response:
        """Return the page of a resource, or start, change or end the stream of a channel."""
        query = dict(parse_qsl(request.query))
        arn, refused = query.get("arn", "")[:1000], ""
        if request.method == "POST":
            form = _form(request)
            try:
                self._act(arn, form)
            except ControlError as error:
                refused = str(error)
            else:
                return _redirect(_link("/resource", {"arn": arn, "done": form["action"]}))
        try:
            found = self._control.resource(arn)
        except ControlError:
            found = None
        calls = (
            self._control.calls(arn=arn, limit=ROWS + 1, before=parse_position(query.get("before", ""))) if arn else []
        )
        return _page(
            409 if refused else 200 if found else 404,
            "resource.html",
            arn=arn,
            resource=found,
            properties=[] if found is None else [*_flat(_without(found["properties"], "arn", "name", "tags", "state"))],
            live=next((each for each in (found or {}).get("streams", []) if each["isLive"]), None),
            calls=calls[:ROWS],
            older=_link("/resource", {"arn": arn, "before": str(calls[ROWS - 1]["seq"])}) if len(calls) > ROWS else "",
            is_newest="before" not in query,
            refused=refused,
            done=_DONE.get(query.get("done", ""), ""),
        )

    def _act(self, arn: str, form: Mapping[str, str]) -> None:
        """Carry out a form of the page of a channel. Raises ControlError."""
        viewers, health = _viewers(form.get("viewers", "0")), form.get("health", "HEALTHY")
        match form.get("action"):
            case "start":
                self._control.go_live(arn, viewers=viewers, health=health)
            case "stop":
                self._control.go_offline(arn)
            case "change":
                self._control.set_health(arn, health)
                self._control.set_viewers(arn, viewers)
            case _:
                raise ControlError("unknown action")


def _is_own_form(request: Request) -> bool:
    """Return whether a form was sent from a page of this server. Browsers name the origin of every form."""
    origin = request.headers.get("origin", "").lower()
    scheme, _, host = origin.partition("://")
    is_form = request.headers.get("content-type", "").partition(";")[0].strip() == _FORM_TYPE
    return is_form and scheme in ("http", "https") and host == request.headers.get("host", "").lower() != ""


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))


def _cookie_name(request: Request) -> str:
    """Return a name with the port: browsers send a cookie to all ports of a host."""
    return f"ivs-sandbox-{request.headers.get('host', '').rpartition(':')[2]}".replace("]", "")


def _own_path(path: str) -> str:
    """Return a path of these pages, else the overview."""
    return path if re.fullmatch(r"/(resources?)?(\?[!-~]*)?", path) else "/"


def _link(path: str, query: Mapping[str, str]) -> str:
    """Return a path with the parts of its query that are not empty."""
    given = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{given}" if given else path


def _redirect(path: str, *headers: tuple[str, str]) -> Response:
    return Response(303, (("Location", path), *headers, ("Cache-Control", "no-store")))


def _page(status: int, template: str, **values: Any) -> Response:
    return Response(status, _HEADERS, _environment().get_template(template).render(**values).encode())


def _viewers(text: str) -> int:
    """Return a number of viewers. Raises ControlError."""
    if not re.fullmatch(r"-1|[0-9]{1,9}", text.strip()):
        raise ControlError("viewers must be a number, 0 or more, or -1 for a count that timed out")
    return int(text)


def _without(document: JsonDict, *names: str) -> JsonDict:
    return {name: value for name, value in document.items() if name not in names}


def _flat(document: JsonDict, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the members of a document by their paths; lists as JSON."""
    for name, value in document.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, str):
            yield prefix + name, value
        else:
            yield prefix + name, json.dumps(value, ensure_ascii=False)


def render(control: Control, state: str, *, refreshing: bool, settings: str) -> str:
    """Return the overview as HTML; `state` is where the sandbox keeps its state, `settings` what an AWS client needs."""
    live = control.live()
    worlds = [
        {**world, "resources": control.resources(world["account"], world["region"])} for world in control.worlds()
    ]
    return (
        _environment()
        .get_template("page.html")
        .render(
            state=state,
            refreshing=refreshing,
            refresh_seconds=REFRESH_SECONDS,
            worlds=[{**world, "counts": _counts(world["resources"])} for world in worlds],
            live=live[:ROWS],
            live_total=len(live),
            faults=[{**fault, "only": _restrictions(fault)} for fault in control.faults()],
            settings=_settings(control),
            client_settings=settings,
            # Without stream keys: each channel has one.
            newest=control.inventory(limit=ROWS, without=_STREAM_KEY),
            resources_total=sum(
                count for world in worlds for kind, count in world["resources"].items() if kind != _STREAM_KEY
            ),
            calls=control.calls(limit=ROWS),
            events=[
                {
                    "time": _spaced(event["time"]),
                    "type": event["detail-type"],
                    "name": event_name(event),
                    "channel": event["resources"][0],
                }
                for event in control.events(limit=ROWS)
            ],
        )
    )


@functools.cache
def _environment() -> jinja2.Environment:
    # Imported here: a server would take a third longer to start.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda count: f"{count:,}"
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    environment.globals["link"] = lambda path, **query: _link(path, query)
    environment.filters["instant"] = lambda seconds: _spaced(iso8601(seconds))
    return environment


def _counts(present: JsonDict) -> list[tuple[str, str, int]]:
    """Return the number of resources of each kind, with the kind's type and its name in words."""
    return [(type_, title, present.get(type_, 0)) for type_, title in _titles()]


def _titles() -> list[tuple[str, str]]:
    """Return the types of all kinds with their names in words."""
    return [
        (kind.type, _CAPITAL.sub(r" \1", kind.plural).lower())
        for service in SERVICES.values()
        for kind in service.kinds.values()
    ]


def _restrictions(fault: JsonDict) -> str:
    """Return what restricts a fault besides its operation."""
    found = [
        f"{label} {fault[member]}"
        for member, label in _RESTRICTIONS
        if fault[member] and (member != "code" or fault["effect"] == "error")
    ]
    return ", ".join([*found, f"after {fault['skip']:,} calls"] if fault["skip"] else found)


def _settings(control: Control) -> list[tuple[str, str]]:
    """Return the settings that differ from the defaults."""
    conditions = control.conditions()
    rows = [
        (f"assumption {row['name']}", str(row["chosen"]))
        for row in control.assumptions()
        if row["chosen"] != row["options"][0]
    ]
    rows += [(f"{change} lag", f"{seconds:g} s") for change, seconds in conditions["lag"].items() if seconds]
    if conditions["rates"] is not None:
        rows.append(("call-rate quotas", "on"))
    if conditions["clock"] == "virtual":
        rows.append(("virtual clock", _spaced(iso8601(conditions["now"]))))
    return rows


def _spaced(timestamp: str) -> str:
    return timestamp.replace("T", " ").replace("Z", " UTC")
