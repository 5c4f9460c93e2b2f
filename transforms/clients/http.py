"""One HTTP exchange with the endpoint: a request body in, one typed result out; nothing is tried twice here."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import requests
import requests.adapters
import urllib3.exceptions
from urllib3.util.retry import Retry

from transforms.clients.secret_manager import is_secret_version
from transforms.core.failures import NoReply, Reply
from transforms.core.profiles import Profile, find_profile, overridden

MAX_RESPONSE_BYTES: Final = 256 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
PROVIDERS: Final = ("openai-compatible", "local")


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where vectors come from and how they are asked for.

    Attributes:
        provider: ``openai-compatible``, or ``local`` for the model that comes with the program.
        base_url: up to and without ``/embeddings``; a query such as Azure's ``?api-version=…`` is kept.
        model: as sent.
        dimensions: sent as an integer when set; None takes the model's own.
        api_key_env: the name of the environment variable that holds the key, "" for servers without one.
        api_key_secret: the version of a secret in Google's Secret Manager that holds the key instead, "" for none.
        input_prefix: what the caller puts before each text; the client sends texts as they are submitted.
        profile: name of a row of ``core/profiles.py``, None to choose by host.
        profile_overrides: single values of that row, replaced.
        connect_timeout_seconds: for the TCP and TLS handshake.
        read_timeout_seconds: between two pieces of an answer; large requests at slow gateways take close to a minute.
        total_timeout_seconds: for the whole answer, so that one that trickles in ends too.
        max_outage_seconds: how long an endpoint that fails even a probe is waited for before the run gives up, resumably.
    """

    provider: str = "openai-compatible"
    base_url: str = "https://api.cometapi.com/v1"
    model: str = "text-embedding-3-small"
    dimensions: int | None = None
    api_key_env: str = "COMETAPI_KEY"
    api_key_secret: str = ""
    input_prefix: str = ""
    profile: str | None = None
    profile_overrides: tuple[tuple[str, object], ...] = ()
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    total_timeout_seconds: float = 300.0
    max_outage_seconds: float = 1800.0

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider must be one of {', '.join(PROVIDERS)}, got {self.provider!r}")
        if not self.model:
            raise ValueError("model must be named")
        if self.dimensions is not None and self.dimensions < 1:
            raise ValueError(f"dimensions must be 1 or more, got {self.dimensions}")
        for name in ("connect_timeout_seconds", "read_timeout_seconds", "total_timeout_seconds", "max_outage_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.api_key_secret and not is_secret_version(self.api_key_secret):
            raise ValueError(
                "api_key_secret must name a version of a secret, as in projects/P/secrets/S/versions/latest, never be the key"
            )
        if self.provider == "openai-compatible":
            self._check_base_url()
            profile = self.find_profile()
            if self.dimensions is not None and profile.dimensions_field is None:
                raise ValueError(
                    f"dimensions must be null: servers of the profile {profile.name} cannot be asked for a length of vectors, "
                    f"got {self.dimensions}"
                )

    def _check_base_url(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"base_url must begin with https:// or http:// and name a host, got {_without_user(parts)!r}"
            )
        if parts.username or parts.password:
            raise ValueError("base_url must not hold a user or a password; name the key's variable in api_key_env")
        if parts.path.rstrip("/").endswith("/embeddings"):
            raise ValueError(f"base_url must end before /embeddings, got {self.base_url!r}")

    @property
    def key_name(self) -> str:
        """What people know the key by: its secret or its variable; "" where none is sent."""
        return self.api_key_secret or self.api_key_env

    @property
    def host(self) -> str:
        """Host name in lower case, without a port."""
        return urlsplit(self.base_url).hostname or ""

    def embeddings_url(self) -> str:
        """Give the address that requests are posted to."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/embeddings", fragment=""))

    def find_profile(self) -> Profile:
        """Choose the server's profile and put the overrides in.

        Raises:
            ValueError: no such profile, or an override that it does not take.
        """
        return overridden(find_profile(self.host, self.model, self.profile), self.profile_overrides)


def _without_user(parts: SplitResult) -> str:
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(slots=True)
class HttpExchange:
    """Post request bodies over a pool of kept-alive connections; safe to use from many threads.

    Redirects are never followed (they would hand the key to another host and turn POST into GET), TLS is always verified,
    and netrc and cookies have no say.

    Attributes:
        key: sent as the profile wants it, "" for none; it never leaves this object in a result.
        connections: as many as threads may post at once.
    """

    settings: EndpointSettings
    profile: Profile
    key: str = field(repr=False)
    connections: int
    clock: Callable[[], float] = time.monotonic
    _session: requests.Session = field(init=False, repr=False)
    _url: str = field(init=False)
    _proxies: dict[str, str] = field(init=False, repr=False)
    _ca_bundle: str | bool = field(init=False)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(1, self.connections, max_retries=Retry(0, read=False))
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._url = self.settings.embeddings_url()
        environment = self._session.merge_environment_settings(self._url, {}, True, True, None)
        self._proxies = dict(environment["proxies"])
        self._ca_bundle = environment["verify"] or True

    def post(self, body: bytes) -> Reply | NoReply:
        """Send one request and read its whole answer."""
        request = requests.Request("POST", self._url, headers=self._headers(), data=body).prepare()
        timeouts = (self.settings.connect_timeout_seconds, self.settings.read_timeout_seconds)
        try:
            with self._session.send(
                request,
                timeout=timeouts,
                verify=self._ca_bundle,
                proxies=self._proxies,
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._read(response)
        except requests.exceptions.RequestException as error:
            return explain(error, self.settings.read_timeout_seconds)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _headers(self) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "embedbeam",
        }
        if self.key and self.profile.authentication == "api-key":
            headers["api-key"] = self.key
        elif self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        return headers

    def _read(self, response: requests.Response) -> Reply | NoReply:
        deadline = self.clock() + self.settings.total_timeout_seconds
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_content(_CHUNK_BYTES):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                return NoReply("too_big", f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
            if self.clock() > deadline:
                return NoReply(
                    "read_timeout", f"the answer was not complete after {self.settings.total_timeout_seconds:g} s"
                )
        body = b"".join(chunks)
        if response.status_code != 200 and self.key:
            body = body.replace(self.key.encode(), b"[key]")
        return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def explain(error: requests.exceptions.RequestException, read_timeout_seconds: float) -> NoReply:
    """Name what went wrong below HTTP; the library's own text is left out because it quotes addresses and objects."""
    chain = _causes(error)
    if isinstance(error, requests.exceptions.ProxyError):
        return NoReply("proxy", "it did not open a connection")
    if isinstance(error, requests.exceptions.SSLError):
        if "certificate" in str(error).lower():
            return NoReply("tls_certificate", "its certificate does not verify")
        return NoReply("tls_handshake", "the TLS handshake broke off")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return NoReply("connect_timeout", "no connection in time")
    if isinstance(error, requests.exceptions.ReadTimeout) or _has(chain, urllib3.exceptions.ReadTimeoutError):
        return NoReply("read_timeout", f"no answer within {read_timeout_seconds:g} s")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return NoReply("bad_encoding", "the content coding is broken")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return NoReply("truncated", "the answer broke off")
    if _has(chain, urllib3.exceptions.NameResolutionError):
        return NoReply("dns", "its name cannot be resolved")
    if _has(chain, urllib3.exceptions.NewConnectionError):
        return NoReply("refused", "the connection is refused")
    if _has(chain, TimeoutError) or _has(chain, BrokenPipeError):
        return NoReply("write_failed", "the request was not taken in whole")
    return NoReply("reset", "the connection was closed without an answer")


def _causes(error: BaseException) -> list[BaseException]:
    """Collect the errors inside an error: requests and urllib3 keep them in ``args`` and ``reason``."""
    found: list[BaseException] = []
    todo = [error]
    while todo and len(found) < 20:
        current = todo.pop()
        found.append(current)
        inner = [*current.args, getattr(current, "reason", None), current.__cause__]
        todo.extend(item for item in inner if isinstance(item, BaseException) and item not in found)
    return found


def _has(chain: list[BaseException], kind: type[BaseException]) -> bool:
    return any(isinstance(item, kind) for item in chain)
