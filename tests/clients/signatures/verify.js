// Verifies calls by the library of the Standard Webhooks for JavaScript.
//
// Usage: verify.js CALLS SECRET, with the library on the path of modules. CALLS is a file with a list of
// {headers, body}. Prints how many of them the secret verifies.

"use strict";

const fs = require("node:fs");
const { Webhook } = require("standardwebhooks");

const [calls, secret] = process.argv.slice(2);
const webhook = new Webhook(secret);
const verified = JSON.parse(fs.readFileSync(calls, "utf8")).filter(({ headers, body }) => {
  try {
    webhook.verify(body, headers);
    return true;
  } catch {
    return false;
  }
});
console.log(verified.length);
