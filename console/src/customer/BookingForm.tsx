import { useState } from "react";
import { useStore } from "zustand";

import { sentenceOf } from "../shared/protocol/problem";
import type { Booking, ServerConfig } from "../shared/protocol/types";
import { durationWords, money } from "../shared/ui/time";
import type { CustomerClient } from "./customerClient";
import { bookingRequest, changeDraft, keepDraft, loadDraft, type Draft } from "./draft";
import { PlaceStep } from "./PlaceStep";

const STEPS = ["service", "place", "address"] as const;
type Step = (typeof STEPS)[number];

interface BookingFormProps {
  readonly client: CustomerClient;
  readonly config: ServerConfig;
  readonly onBooked: (booking: Booking) => void;
  readonly onLeave: (() => void) | undefined;
}

export interface StepProps {
  readonly draft: Draft;
  readonly change: (change: Partial<Omit<Draft, "key">>) => void;
  readonly back: (() => void) | undefined;
  readonly next: () => void;
}

/** Three screens: what, where, and how to get in. */
export function BookingForm({ client, config, onBooked, onLeave }: BookingFormProps) {
  const [draft, setDraft] = useState(loadDraft);
  const [step, setStep] = useState<Step>("service");
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const change = (part: Partial<Omit<Draft, "key">>): void => {
    const changed = changeDraft(draft, part);
    setDraft(changed);
    keepDraft(changed);
  };
  const book = async (): Promise<void> => {
    const request = bookingRequest(draft);
    if (!request) { setProblem("Choose a service, a place and an address first."); return; }
    setBusy(true);
    setProblem(null);
    try {
      const booking = await client.book(request, draft.key);
      keepDraft(null);
      onBooked(booking);
    } catch (error) {
      setProblem(sentenceOf(error));
      setBusy(false);
    }
  };
  return (
    <div className="stage" data-testid="booking-form" data-step={step}>
      <div className="steps" role="img" aria-label={`Step ${STEPS.indexOf(step) + 1} of ${STEPS.length}`}>
        {STEPS.map((each, index) => (
          <i key={each} data-done={index <= STEPS.indexOf(step)} />
        ))}
      </div>
      {step === "service" && <ServiceStep client={client} draft={draft} change={change} back={onLeave} next={() => setStep("place")} />}
      {step === "place" && <PlaceStep config={config} draft={draft} change={change} back={() => setStep("service")} next={() => setStep("address")} />}
      {step === "address" && <AddressStep draft={draft} change={change} back={() => setStep("place")} next={() => void book()} isBusy={isBusy} problem={problem} />}
    </div>
  );
}

function ServiceStep({ client, draft, change, back, next }: StepProps & { readonly client: CustomerClient }) {
  const services = useStore(client.state, (state) => state.services);
  return (
    <>
      <h2 className="stage-title">What do you need?</h2>
      {services === null ? (
        <div className="card skeleton-card" role="status" aria-label="Loading services" />
      ) : (
        <fieldset className="choices">
          <legend className="sr-only">Service</legend>
          {services.map((service) => (
            <label key={service.code} className="choice">
              <input
                type="radio"
                name="service"
                value={service.code}
                checked={draft.serviceCode === service.code}
                onChange={() => change({ serviceCode: service.code })}
                data-testid={`service-${service.code}`}
              />
              <span className="grow">
                {service.name}
                <small>about {durationWords(service.duration_min * 60_000)}</small>
              </span>
              <strong>{money(service.price_minor, service.currency)}</strong>
            </label>
          ))}
        </fieldset>
      )}
      <StepButtons back={back} next={next} label="Choose the place" isReady={draft.serviceCode !== null} />
    </>
  );
}

function AddressStep({ draft, change, back, next, isBusy, problem }: StepProps & { readonly isBusy: boolean; readonly problem: string | null }) {
  return (
    <>
      <h2 className="stage-title">How do we get in?</h2>
      <label>
        Address
        <input value={draft.line} autoComplete="street-address" maxLength={200} onChange={(event) => change({ line: event.target.value })} data-testid="address-line" />
      </label>
      <div className="field-row">
        <label>
          Floor
          <input value={draft.floor} maxLength={40} onChange={(event) => change({ floor: event.target.value })} data-testid="floor" />
        </label>
        <label>
          Bell, gate, code
          <input value={draft.entryNotes} maxLength={300} onChange={(event) => change({ entryNotes: event.target.value })} data-testid="entry-notes" />
        </label>
      </div>
      <label>
        Anything else
        <textarea rows={3} value={draft.notes} maxLength={1000} onChange={(event) => change({ notes: event.target.value })} />
      </label>
      <p className="small faint">The worker sees how to get in only once the job is theirs.</p>
      <p className="form-problem" role="alert">
        {problem}
      </p>
      <StepButtons back={back} next={next} label={isBusy ? "Booking…" : problem ? "Try again" : "Book now"} isReady={!isBusy && bookingRequest(draft) !== null} testId="book" />
    </>
  );
}

interface StepButtonsProps {
  readonly back: (() => void) | undefined;
  readonly next: () => void;
  readonly label: string;
  readonly isReady: boolean;
  readonly testId?: string;
}

export function StepButtons({ back, next, label, isReady, testId = "next" }: StepButtonsProps) {
  return (
    <div className={back ? "thumb-row" : "thumb-row single"}>
      {back && (
        <button type="button" className="button thumb" onClick={back} data-testid="back">
          Back
        </button>
      )}
      <button type="button" className="button thumb primary" onClick={next} disabled={!isReady} data-testid={testId}>
        {label}
      </button>
    </div>
  );
}
