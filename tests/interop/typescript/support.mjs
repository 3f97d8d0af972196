// What the tests of the official TypeScript client share: a client with an API key, and the emulator at ANTENV_EMULATOR_URL.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";

export const url = process.env.ANTENV_EMULATOR_URL;
assert.ok(url, "ANTENV_EMULATOR_URL must be set");

export const settings = { baseURL: url, maxRetries: 0, timeout: 30_000 };
export const client = new Anthropic({ apiKey: "sk-ant-api03-interop", ...settings });
export const environments = client.beta.environments;

/** The work operations with an environment key or with the token of an item. */
export const workWith = (authToken) => new Anthropic({ apiKey: null, authToken, ...settings }).beta.environments.work;

/** Calls a control endpoint of the emulator. */
export async function control(method, path, body) {
  const response = await fetch(`${url}/_emulator/${path}`, { method, body: JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.json();
}

/** A self-hosted environment, its key, and the work operations with that key. */
export async function selfHosted() {
  const { id } = await environments.create({ name: "workshop", config: { type: "self_hosted" } });
  const { environment_key: key } = await control("POST", "environment_keys", { environment_id: id });
  return { id, key, work: workWith(key) };
}
