"""Verifies calls by the library of the Standard Webhooks for Python.

Usage: verify.py CALLS SECRET. CALLS is a file with a list of {headers, body}. Prints how many of them the secret verifies.
"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

CALLS, SECRET = sys.argv[1:]
WEBHOOK = Webhook(SECRET)


def is_verified(call):
    try:
        WEBHOOK.verify(call["body"], call["headers"])
    except WebhookVerificationError:
        return False
    return True


with open(CALLS, encoding="utf-8") as calls:
    print(sum(map(is_verified, json.load(calls))))
