"""LiteLLM's own Python client and command line against a running BudgetGate: every call, there and back.

Run it with a Python that has `litellm[proxy]`, with the address as argument and BUDGETGATE_MASTER_KEY in the
environment; `make litellm-client` does both. It imports nothing of this project. A check that fails keeps none back.
"""

import argparse
import json
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from litellm.proxy.client import Client
from litellm.proxy.client.exceptions import NotFoundError, UnauthorizedError
from litellm.proxy.client.health import HealthManagementClient
from litellm.proxy.client.users import UsersManagementClient

MODEL = "demo"
QUESTION = [{"role": "user", "content": "Hello"}]
PARAMS = {"model": "openai/gpt-4o-mini", "api_base": "http://127.0.0.1:9/v1"}
TIMEOUT_S = 60


@dataclass(frozen=True)
class Site:
    """A running gateway; `name` makes the names of one run its own."""

    url: str
    key: str
    name: str

    @property
    def client(self) -> Any:
        return self.with_key(self.key)

    @property
    def users(self) -> Any:
        return UsersManagementClient(self.url, self.key)

    def with_key(self, key: str) -> Any:
        """The client with another key."""
        return Client(base_url=self.url, api_key=key)

    def cli(self, *words: str, key: str | None = None) -> str:
        """What the command line prints. It is a module, so that it needs no path of a script."""
        code = "from litellm.proxy.client.cli.main import cli; cli()"
        environment = os.environ | {
            "LITELLM_PROXY_URL": self.url,
            "LITELLM_PROXY_API_KEY": key or self.key,
            "COLUMNS": "250",
        }
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, timeout=TIMEOUT_S
        )
        assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def cli_json(self, *words: str) -> Any:
        """The same where it prints JSON."""
        out = self.cli(*words)
        try:
            return json.loads(out)
        except ValueError:
            raise AssertionError(f"{' '.join(words)} printed no JSON: {out[:500]}") from None


def refused(call: Callable[[], object], *, status: int) -> None:
    """The call must fail with that status, whatever exception the client makes of it."""
    try:
        call()
    except (requests.HTTPError, UnauthorizedError, NotFoundError) as error:
        cause = error if isinstance(error, requests.HTTPError) else error.orig_exception
        response = getattr(cause, "response", None)
        assert response is None or response.status_code == status, f"{response.status_code} instead of {status}"
        return
    raise AssertionError(f"it succeeded, {status} was due")


# --- the Python client --------------------------------------------------------------------------------


def check_health(site: Site) -> None:
    readiness = HealthManagementClient(site.url, site.key).get_readiness()
    assert readiness["status"] in ("healthy", "degraded"), readiness
    assert readiness["db"] == "connected", readiness


def check_http(site: Site) -> None:
    answer = site.client.http.request("GET", "/health/readiness")
    assert answer["status"], answer
    refused(lambda: site.client.http.request("GET", "/key/info", params={"key": "0" * 64}), status=404)


def check_keys(site: Site) -> None:
    keys = site.client.keys
    alias = f"{site.name}-key"
    made = keys.generate(key_alias=alias, models=[MODEL], duration="24h", aliases={"fast": MODEL}, spend=0.5)
    assert made["key"].startswith("sk-"), made
    assert (made["key_alias"], made["models"]) == (alias, [MODEL]), made
    assert made["expires"], made
    for named in (made["key"], made["token"]):
        info = keys.info(named)["info"]
        assert (info["key_alias"], info["aliases"]) == (alias, {"fast": MODEL}), info
        assert abs(info["spend"] - 0.5) < 1e-9, info
    changed = keys.update(made["key"], key_alias=f"{alias}-2", models=[MODEL, "other"], spend=0.25)
    assert changed["key_alias"] == f"{alias}-2", changed
    assert keys.info(made["key"])["info"]["models"] == [MODEL, "other"]
    assert abs(keys.info(made["key"])["info"]["spend"] - 0.25) < 1e-9
    assert keys.delete(keys=[made["key"]])["deleted_keys"] == [made["key"]]
    refused(lambda: keys.delete(keys=[made["key"]]), status=404)


def check_key_list(site: Site) -> None:
    keys = site.client.keys
    made = [keys.generate(key_alias=f"{site.name}-list-{n}") for n in range(3)]
    page = keys.list(page=1, size=2)
    assert len(page["keys"]) == 2, page
    assert page["current_page"] == 1, page
    assert page["total_count"] >= 3, page
    assert page["total_pages"] >= 2, page
    assert all(isinstance(key, str) for key in page["keys"]), page
    [row] = keys.list(key_alias=f"{site.name}-list-1", return_full_object=True)["keys"]
    assert (row["token"], row["key_alias"]) == (made[1]["token"], f"{site.name}-list-1"), row
    assert keys.list(key_hash=made[2]["token"])["keys"] == [made[2]["token"]]
    assert keys.delete(key_aliases=[f"{site.name}-list-{n}" for n in range(3)])["deleted_keys"]


def check_key_with_budget_team_and_user(site: Site) -> None:
    http, team, user, budget = site.client.http, f"{site.name}-kt", f"{site.name}-ku", f"{site.name}-kb"
    http.request("POST", "/budget/new", json={"budget_id": budget, "max_budget": 5.0, "budget_duration": "30d"})
    http.request("POST", "/team/new", json={"team_id": team, "team_alias": team})
    site.users.create_user({"user_id": user, "auto_create_key": False, "teams": [team]})
    made = site.client.keys.generate(team_id=team, user_id=user, budget_id=budget, config={})
    assert (made["team_id"], made["user_id"], made["budget_id"]) == (team, user, budget), made
    for query in ({"team_id": team}, {"user_id": user}):
        assert made["token"] in site.client.keys.list(**query, include_team_keys=True)["keys"], query
    site.client.keys.delete(keys=[made["key"]])


def check_refusals(site: Site) -> None:
    refused(lambda: site.with_key("sk-nobody-has-this-key").keys.list(), status=401)
    key = site.client.keys.generate(key_alias=f"{site.name}-plain")["key"]
    other = site.client.keys.generate(key_alias=f"{site.name}-other")["key"]
    refused(lambda: site.with_key(key).keys.info(other), status=403)
    assert site.with_key(key).keys.info(key)["info"]["key_alias"] == f"{site.name}-plain"
    refused(lambda: site.client.keys.generate(key_alias=f"{site.name}-plain"), status=400)
    site.client.keys.delete(keys=[key, other])


def check_teams(site: Site) -> None:
    http, teams, team = site.client.http, site.client.teams, f"{site.name}-team"
    user = f"{site.name}-member"
    site.users.create_user({"user_id": user, "auto_create_key": False})
    members = [{"role": "user", "user_id": user}]
    http.request("POST", "/team/new", json={"team_id": team, "team_alias": f"{team}!", "members_with_roles": members})
    assert team in [row["team_id"] for row in teams.list()]
    assert [row["team_id"] for row in teams.list(user_id=user)] == [team]
    page = teams.list_v2(team_id=team, page=1, page_size=5, sort_by="team_alias", sort_order="desc")
    assert [row["team_alias"] for row in page["teams"]] == [f"{team}!"], page
    assert (page["total"], page["page"], page["page_size"], page["total_pages"]) == (1, 1, 5, 1), page
    assert isinstance(teams.get_available(), list)
    http.request("POST", "/team/delete", json={"team_ids": [team]})
    assert team not in [row["team_id"] for row in teams.list()]


def check_users(site: Site) -> None:
    users, user, email = site.users, f"{site.name}-user", f"{site.name}@example.org"
    made = users.create_user({"user_id": user, "user_email": email, "user_role": "internal_user", "max_budget": 5.0})
    assert (made["user_id"], made["user_email"], made["user_role"]) == (user, email, "internal_user"), made
    assert made["key"].startswith("sk-"), made
    info = users.get_user(user)
    assert (info["user_id"], info["user_info"]["max_budget"]) == (user, 5.0), info
    assert len(info["keys"]) == 1, info
    assert users.get_user_v2(user)["user_email"] == email
    assert [row["user_id"] for row in users.list_users({"user_email": email})] == [user]
    users.delete_user([user])
    refused(lambda: users.get_user(user), status=404)


def check_models(site: Site) -> None:
    models, name = site.client.models, f"{site.name}-model"
    made = models.new(name, {**PARAMS, "api_key": "sk-of-the-provider"}, {"base_model": "gpt-4o-mini"})
    public_id = made.get("model_id") or made["model_info"]["id"]
    key = site.client.keys.generate(key_alias=f"{site.name}-models")["key"]
    assert name in [row["id"] for row in site.with_key(key).models.list()]
    site.client.keys.delete(keys=[key])
    row = models.get(model_name=name)
    assert (row["model_info"]["id"], row["litellm_params"]["model"]) == (public_id, PARAMS["model"]), row
    assert "sk-of-the-provider" not in json.dumps(row)
    assert models.get(model_id=public_id)["model_name"] == name
    # The client sends the id beside the parameters, not within model_info.
    models.update(public_id, {**PARAMS, "model": "openai/gpt-4o"}, {"id": public_id})
    assert models.get(model_id=public_id)["litellm_params"]["model"] == "openai/gpt-4o"
    models.delete(public_id)
    assert name not in [row["model_name"] for row in models.info()]
    refused(lambda: models.delete(public_id), status=404)


def check_models_listed_with_the_master_key(site: Site) -> None:
    assert MODEL in [row["id"] for row in site.client.models.list()]
    assert MODEL in [row["id"] for row in site.cli_json("models", "list", "--format", "json")]


def check_model_groups(site: Site) -> None:
    groups = site.client.model_groups.info()
    assert MODEL in [row["model_group"] for row in groups], groups
    assert all(isinstance(row["providers"], list) for row in groups), groups


def check_credentials(site: Site) -> None:
    credentials, name = site.client.credentials, f"{site.name}-credential"
    credentials.create(name, {"custom_llm_provider": "openai"}, {"api_key": "sk-of-the-provider-1234"})
    rows = credentials.list()["credentials"]
    assert name in [row["credential_name"] for row in rows], rows
    assert "sk-of-the-provider-1234" not in json.dumps(rows)
    assert credentials.get(name)["credential_info"] == {"custom_llm_provider": "openai"}
    credentials.delete(name)
    assert name not in [row["credential_name"] for row in credentials.list()["credentials"]]


def check_chat(site: Site) -> None:
    key = site.client.keys.generate(key_alias=f"{site.name}-chat", models=[MODEL])["key"]
    chat = site.with_key(key).chat
    answer = chat.completions(model=MODEL, messages=QUESTION, max_tokens=20, temperature=0.1, user="customer-1")
    assert answer["choices"][0]["message"]["content"], answer
    assert answer["usage"]["total_tokens"] > 0, answer
    chunks = list(chat.completions_stream(model=MODEL, messages=QUESTION, max_tokens=20))
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text, chunks
    refused(lambda: chat.completions(model="no-such-model", messages=QUESTION), status=403)
    site.client.keys.delete(keys=[key])


def check_chat_over_budget(site: Site) -> None:
    made = site.client.http.request(
        "POST", "/key/generate", json={"budget_limits": [{"budget_duration": "1h", "max_budget": 0}]}
    )
    refused(lambda: site.with_key(made["key"]).chat.completions(model=MODEL, messages=QUESTION), status=429)
    usage = site.client.keys.info(made["key"])["info"]["budget_limits_usage"]
    assert usage["1h"]["current_spend"] == 0, usage
    site.client.keys.delete(keys=[made["key"]])


# --- the command line ---------------------------------------------------------------------------------


def check_cli_version(site: Site) -> None:
    assert "Proxy" in site.cli("version")


def check_cli_keys(site: Site) -> None:
    alias = f"{site.name}-cli"
    made = site.cli_json("keys", "generate", "--key-alias", alias, "--models", MODEL, "--duration", "1h")
    assert made["key_alias"] == alias, made
    rows = site.cli_json("keys", "list", "--format", "json", "--key-alias", alias)["keys"]
    assert len(rows) == 1, rows
    assert alias in site.cli("keys", "list", "--key-alias", alias)
    deleted = site.cli_json("keys", "delete", "--keys", made["key"])
    assert deleted["deleted_keys"] == [made["key"]], deleted


def check_cli_key_import(site: Site) -> None:
    site.client.keys.generate(key_alias=f"{site.name}-there")
    out = site.cli("keys", "import", "--source-base-url", site.url, "--source-api-key", site.key, "--dry-run")
    assert "Found" in out, out
    site.client.keys.delete(key_aliases=[f"{site.name}-there"])


def check_cli_models(site: Site) -> None:
    name = f"{site.name}-cli-model"
    params = [word for key, value in PARAMS.items() for word in ("--param", f"{key}={value}")]
    made = site.cli_json("models", "add", name, *params)
    public_id = made.get("model_id") or made["model_info"]["id"]
    assert site.cli_json("models", "get", "--name", name)["model_name"] == name
    assert name in site.cli("models", "info", "--format", "table")
    site.cli("models", "delete", public_id)
    assert MODEL in site.cli("model-groups", "list")


def check_cli_people(site: Site) -> None:
    email = f"{site.name}-cli@example.org"
    made = site.cli_json("users", "create", "--email", email, "--alias", "Ann", "--max-budget", "3")
    assert email in site.cli("users", "list")
    assert site.cli_json("users", "get", "--id", made["user_id"])["user_info"]["user_alias"] == "Ann"
    site.cli("users", "delete", made["user_id"])
    site.cli("teams", "list")
    site.cli("teams", "available")


def check_cli_credentials(site: Site) -> None:
    name = f"{site.name}-cli-credential"
    site.cli(
        "credentials", "create", name, "--info", '{"custom_llm_provider": "openai"}', "--values", '{"api_key": "x"}'
    )
    assert name in site.cli("credentials", "list")
    site.cli("credentials", "get", name)
    site.cli("credentials", "delete", name)


def check_cli_http(site: Site) -> None:
    answer = site.cli_json("http", "request", "GET", "/health/readiness")
    assert answer["status"], answer


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="such as http://127.0.0.1:4000")
    parser.add_argument("--only", nargs="*", choices=CHECKS, default=list(CHECKS), help="some of the checks")
    options = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    site = Site(options.url.rstrip("/"), os.environ["BUDGETGATE_MASTER_KEY"], f"rt-{uuid.uuid4().hex[:8]}")
    failed = [name for name in options.only if not _passes(name, site)]
    print(f"{len(options.only) - len(failed)} of {len(options.only)} passed")
    return 1 if failed else 0


def _passes(name: str, site: Site) -> bool:
    try:
        CHECKS[name](site)
    except Exception as error:  # noqa: BLE001 - every check runs, and what failed is said
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
        body = getattr(getattr(error, "response", None), "text", "")
        said = f"{type(error).__name__}: {str(error)[:900]} {body[:400]}".replace(site.key, "(master key)")
        print(f"FAILED {name}, line {frames[-1].lineno}: {said}")
        return False
    print(f"ok     {name}")
    return True


if __name__ == "__main__":
    sys.exit(main())
