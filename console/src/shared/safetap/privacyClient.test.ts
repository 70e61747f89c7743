import { describe, expect, it } from "vitest";

import { Problem } from "../protocol/problem";
import { PrivacyClient } from "./privacyClient";

/** A client of which `away` is the door that answers with `problem`. */
function setUp(problem: Problem | null, away: "api" | "safetap" = "safetap") {
  const asked: string[] = [];
  const answer = (door: string) => (): Promise<never> => {
    asked.push(door);
    return problem && door === away ? Promise.reject(problem) : Promise.resolve({ state: "cancelled" } as never);
  };
  const rest = { get: answer("api"), post: answer("api"), put: answer("api"), delete: answer("api") };
  return { client: new PrivacyClient(rest, answer("safetap")), asked };
}

describe("a PIN that is given", () => {
  it("is judged once, at SafeTap's own port", async () => {
    const { client, asked } = setUp(null);
    await client.givePin("1357", undefined);
    expect(asked).toEqual(["safetap"]);
  });

  it.each([0, 401, 503])("goes to the API where that port does not judge it (%i)", async (status) => {
    const { client, asked } = setUp(new Problem(status, "unavailable", "away"));
    await client.givePin("1357", undefined);
    expect(asked).toEqual(["safetap", "api"]);
  });

  it.each([422, 429])("is not given again where it was refused (%i)", async (status) => {
    const { client, asked } = setUp(new Problem(status, "invalid_input", "wrong"));
    await expect(client.givePin("1357", undefined)).rejects.toThrow("wrong");
    expect(asked).toEqual(["safetap"]);
  });
});

describe("a part of the set-up", () => {
  it("is changed alone: what was chosen elsewhere stays, and what the law says is not told back", async () => {
    const kept = { contact_mode: "none", code_word: null, decoy_text: null, is_volunteer: false, contacts: [], cue: "buzz", records_sound: true };
    const put: unknown[] = [];
    const rest = {
      get: () => Promise.resolve({ ...kept, sound: { is_allowed: true, country: "PT", consent: "one_party", consent_basis: null } } as never),
      put: (_path: string, body: unknown) => Promise.resolve(put.push(body) as never),
      post: () => Promise.reject(new Error("nothing is posted")),
      delete: () => Promise.reject(new Error("nothing is deleted")),
    };
    await new PrivacyClient(rest, () => Promise.reject(new Error("not asked"))).change({ cue: "none" });
    expect(put).toEqual([{ ...kept, cue: "none" }]);
  });
});

describe("silent messages", () => {
  it("are none where the server knows of none, and an error where it does not answer", async () => {
    expect(await setUp(new Problem(404, "not_found", "none"), "api").client.messages()).toBeNull();
    await expect(setUp(new Problem(0, "offline", "away"), "api").client.messages()).rejects.toThrow("away");
  });
});
