"""Uses the client of others as it is, through all that it can do. Prints one line for each step, then what the front saw."""

import json
import sys
from datetime import timedelta
from importlib.metadata import version

from front import Front
from responsys_client.client import ResponsysClient
from responsys_client.exceptions import ResponsysClientError

front = Front(sys.argv[1], sys.argv[2])


def client(user):
    made = ResponsysClient(user, "secret", front.url)
    # What a minute is otherwise.
    made.RESPONSYS_RATE_LIMIT_WAITING_PERIOD_IN_SECONDS = 1
    return made


def step(name, act):
    result = act()
    print(json.dumps({"client": "responsys-client", "version": version("responsys-client"), "step": name, "result": result}))


def refused(act):
    try:
        act()
    except ResponsysClientError as error:
        text = str(error)
        return next(word for word in ("API_LIMIT_EXCEEDED", "API_BLOCKED", text) if word in text)
    return "taken"


api = client("api_user")
row = {"CUSTOMER_ID_": "7", "EMAIL_ADDRESS_": "ab.cd@example.com"}
step("login, get_profile_lists", lambda: api.get_profile_lists()[0]["name"])
step("get_profile_list_extensions", lambda: api.get_profile_list_extensions("L")[0]["profileExtension"]["objectName"])
step(
    "merge_profile_list_members",
    lambda: api.merge_profile_list_members("L", [row], "CUSTOMER_ID_")["recordData"]["records"][0][0],
)
step(
    "merge_profile_list_extension_members",
    lambda: api.merge_profile_list_extension_members("L", "P", [row], "CUSTOMER_ID")["recordData"]["records"][0][0],
)
step(
    "get_supplemental_table_members",
    lambda: api.get_supplemental_table_members("F", "T", {"ID": "7"})["recordData"]["records"][0][1],
)
step(
    "merge_supplemental_table_members",
    lambda: api.merge_supplemental_table_members("F", "T", [row])["recordData"]["records"][0][0],
)
step("get_profile_list_member", lambda: api.get_profile_list_member("L", 7)["RIID_"])
step("get_extension_table_member", lambda: api.get_extension_table_member("L", "P", 7)["RIID_"])
step("delete_profile_list_member", lambda: api.delete_profile_list_member("L", 7) or "done")
step("delete_list_extension_member", lambda: api.delete_list_extension_member("L", "P", 7) or "done")
step("unsubscribe_list_member", lambda: api.unsubscribe_list_member("L", 7)["recordData"]["records"][0][0])


def renewed():
    before, api.AUTH_TOKEN_REFRESH_THRESHOLD = api.auth_token, timedelta(0)
    api.get_profile_lists()
    api.AUTH_TOKEN_REFRESH_THRESHOLD = timedelta(hours=1)
    return "another token" if api.auth_token != before else "the same token"


step("refresh of the token", renewed)
# The limit is two a minute, and one was used above.
step("second get_profile_list_extensions", lambda: api.get_profile_list_extensions("L")[0]["profileExtension"]["objectName"])
step("third, waits and repeats", lambda: refused(lambda: api.get_profile_list_extensions("L")))
nightly = client("nightly")
step("a blocked user", lambda: refused(nightly.get_profile_lists))
step("what else that user may do", lambda: nightly.get_profile_list_member("L", 7)["RIID_"])
print(json.dumps({"calls": front.calls}))
