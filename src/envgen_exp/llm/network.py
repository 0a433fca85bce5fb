"""How the environment says to reach a server: proxies and certificates.

Both are read here and nowhere else, so that a wrong variable is named before the first request, a failing proxy in it.
"""

from __future__ import annotations

import os
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from envgen_exp.errors import ConfigError

_TRUSTED = ("SSL_VERIFY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
"""Variables that name the certificates to trust; the first that is set counts. SSL_VERIFY may say true or false too."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that stands before an address."""

    variable: str
    """The environment variable that names it."""
    url: str
    """With its password, if it has one."""

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"the proxy {parts.hostname}{f':{parts.port}' if parts.port else ''} ({self.variable})"


def proxy_for(address: str) -> Proxy | None:
    """The proxy that the environment puts before an address; ConfigError where its variable names none."""
    parts = urlsplit(address)
    proxies, host = urllib.request.getproxies(), parts.hostname or ""
    bypassed = any(urllib.request.proxy_bypass(name) for name in (host, f"{host}:{parts.port}"))
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    if kind is None or bypassed:
        return None
    variables = (name for name in (f"{kind}_proxy", f"{kind}_proxy".upper()) if os.environ.get(name))
    proxy = Proxy(next(variables, "the system's settings"), proxies[kind])
    if "://" not in proxy.url:
        proxy = Proxy(proxy.variable, f"http://{proxy.url}")
    return proxy


def open_way(proxy: Proxy | None) -> httpx.HTTPTransport:
    """Connections through a proxy or, without one, straight to the server. ConfigError names a wrong variable."""
    trusted = certificates()
    if proxy is None:
        return httpx.HTTPTransport(verify=trusted)
    try:
        parts = urlsplit(proxy.url)
        if not parts.hostname or parts.port == 0:  # one too high is a ValueError
            raise ValueError(proxy.url)
        return httpx.HTTPTransport(verify=trusted, proxy=proxy.url)
    except (ValueError, ImportError, httpx.InvalidURL):
        # Its value is not shown: it may hold a password.
        raise ConfigError(
            f"the environment variable {proxy.variable} names no proxy that can be used: allowed is http://HOST:PORT,"
            " https://HOST:PORT and, with the package socksio, socks5://HOST:PORT"
        ) from None


def certificates() -> ssl.SSLContext:
    """Whom to trust and as whom to appear, as SSL_VERIFY, SSL_CERT_FILE and their kind say."""
    said = os.environ.get("SSL_VERIFY", "").strip().lower()
    names = [name for name in _TRUSTED if os.environ.get(name) and not (name == "SSL_VERIFY" and said == "true")]
    if said == "false" or not names:
        context = httpx.create_ssl_context(verify=said != "false", trust_env=False)
    else:
        with _readable(names[0], "certificates") as path:
            folder = os.path.isdir(path)
            context = ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
    if level := os.environ.get("SSL_SECURITY_LEVEL"):
        with _readable("SSL_SECURITY_LEVEL", "ciphers"):
            context.set_ciphers(level)
    if os.environ.get("SSL_CERTIFICATE"):
        with _readable("SSL_CERTIFICATE", "certificate and key") as path:
            context.load_cert_chain(path, password="")
    return context


def check_way(address: str | None) -> None:
    """Refuse what no request could get past; without an address, a provider's own is meant."""
    open_way(proxy_for(address or "https://provider.invalid")).close()


@contextmanager
def _readable(variable: str, what: str) -> Iterator[str]:
    value = os.environ[variable]
    try:
        yield value
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror or str(error)
        raise ConfigError(f"the environment variable {variable}={value} gives no {what}: {why}") from None
