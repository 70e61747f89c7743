import { describe, expect, it } from "vitest";

import { Problem } from "../protocol/problem";
import { PrivacyClient } from "./privacyClient";

function setUp(problem: Problem | null) {
  const asked: string[] = [];
  const answer = (door: string) => (): Promise<never> => {
    asked.push(door);
    return problem && door === "api" ? Promise.reject(problem) : Promise.resolve({ state: "cancelled" } as never);
  };
  const rest = { get: answer("api"), post: answer("api"), put: answer("api"), delete: answer("api") };
  return { client: new PrivacyClient(rest, answer("safetap")), asked };
}

describe("a PIN that is given", () => {
  it("is judged once where the API answers", async () => {
    const { client, asked } = setUp(null);
    await client.givePin("1357", undefined);
    expect(asked).toEqual(["api"]);
  });

  it.each([0, 503])("goes to SafeTap's own port where the API does not (%i)", async (status) => {
    const { client, asked } = setUp(new Problem(status, "unavailable", "away"));
    await client.givePin("1357", undefined);
    expect(asked).toEqual(["api", "safetap"]);
  });

  it.each([422, 429])("is not given again where it was refused (%i)", async (status) => {
    const { client, asked } = setUp(new Problem(status, "invalid_input", "wrong"));
    await expect(client.givePin("1357", undefined)).rejects.toThrow("wrong");
    expect(asked).toEqual(["api"]);
  });
});

describe("silent messages", () => {
  it("are none where the server knows of none, and an error where it does not answer", async () => {
    expect(await setUp(new Problem(404, "not_found", "none")).client.messages()).toBeNull();
    await expect(setUp(new Problem(0, "offline", "away")).client.messages()).rejects.toThrow("away");
  });
});
