import { describe, expect, it } from "vitest";

import { draftOf, pinProblem, setupOf, setupProblem, withContact, type ContactSetup } from "./setupDraft";

const setup: ContactSetup = {
  contact_mode: "decoy",
  code_word: null,
  decoy_text: "Your parcel is delayed.",
  is_volunteer: false,
  contacts: [{ name: "Rita", phone: "+351910000001", email: null, may_be_at_address: true }],
};

describe("what a person chooses", () => {
  it("comes back as it was told", () => {
    expect(setupOf(draftOf(setup))).toEqual(setup);
  });

  it("leaves out what the mode does not use, and rows that nobody filled in", () => {
    const draft = withContact({ ...draftOf(setup), mode: "none", codeWord: "bluebird" });
    expect(setupOf(draft)).toEqual({ ...setup, contact_mode: "none", decoy_text: null });
    expect(setupProblem(draft)).toBeNull();
  });

  it("says what is missing", () => {
    const draft = draftOf(setup);
    expect(setupProblem({ ...draft, mode: "code_word" })).toBe("Choose a word.");
    expect(setupProblem({ ...draft, decoyText: " " })).toBe("Write the message.");
    const change = (part: object) => ({ ...draft, contacts: draft.contacts.map((contact) => ({ ...contact, ...part })) });
    expect(setupProblem(change({ phone: "" }))).toContain("Rita");
    expect(setupProblem(change({ name: " " }))).toBe("Give each person a name.");
  });

  it("keeps each row's key while others go", () => {
    const two = withContact(withContact(draftOf(setup)));
    const without = { ...two, contacts: two.contacts.filter(({ key }) => key !== 1) };
    expect(withContact(without).contacts.map(({ key }) => key)).toEqual([0, 2, 3]);
  });
});

describe("pinProblem", () => {
  it.each([
    ["1234", "9876", null],
    ["1234", "123456", null],
    ["1234", "1235", "The two must differ in at least two digits."],
    ["1234", "1234", "The two must differ in at least two digits."],
    ["123", "9876", "4 to 8 digits each."],
    ["1234", "98a6", "4 to 8 digits each."],
    ["1234", "123456789", "4 to 8 digits each."],
  ])("of %s and %s", (safe, duress, problem) => {
    expect(pinProblem(safe, duress)).toBe(problem);
  });
});
