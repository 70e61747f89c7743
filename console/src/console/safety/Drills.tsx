import { useMemo, useState } from "react";
import { useStore } from "zustand";

import { Age } from "../../shared/ui/Age";
import { useDesk } from "../deskContext";
import { hashOf } from "../route";
import { useTask } from "../useTask";
import { DAY_WORDS, lastDrills, planOf, planWords, WEEKDAYS, type DrillPlan } from "./drillPlan";

const RESULTS = 8;

interface DrillsProps {
  /** Null until it is known. */
  readonly plan: DrillPlan | null;
  readonly takePlan: (plan: DrillPlan) => void;
}

/** When drills begin, how the last ones went, and one at once. */
export function Drills({ plan, takePlan }: DrillsProps) {
  const { rest, isAdmin } = useDesk();
  const { isBusy, problem, run } = useTask();
  const [startedAtMs, setStartedAtMs] = useState<number | null>(null);
  const words = plan ? planWords(plan) : [];
  return (
    <section className="actions column">
      <h3>Drills</h3>
      <div className="small" data-testid="drill-plan" data-next={plan?.next_at ?? ""}>
        {plan && words.length === 0 && <p>None begins by itself.</p>}
        {words.map((sentence) => (
          <p key={sentence}>{sentence}</p>
        ))}
        {plan?.next_at && <p>The next on {new Date(plan.next_at).toLocaleString("en-GB")}.</p>}
      </div>
      {plan && isAdmin && <PlanForm key={JSON.stringify(plan)} plan={plan} takePlan={takePlan} />}
      <Results />
      <button type="button" className="button wide" disabled={isBusy} onClick={() => run(rest.post("/v1/drills", {}).then(() => setStartedAtMs(Date.now())))} data-testid="start-drill">
        Start a drill now
      </button>
      <p className="quiet small" role="status">
        {startedAtMs !== null && (
          <>
            A drill began <Age at={startedAtMs} />. It takes the whole real path and says everywhere that it is one.
          </>
        )}
      </p>
      <p className="form-problem" role="alert">
        {problem}
      </p>
    </section>
  );
}

interface PlanFormProps extends DrillsProps {
  readonly plan: DrillPlan;
}

function PlanForm({ plan, takePlan }: PlanFormProps) {
  const { rest, config } = useDesk();
  const { isBusy, problem, run } = useTask();
  const { every_h, weekly } = plan;
  return (
    <details>
      <summary data-testid="plan-drills">Change the plan</summary>
      <form
        className="actions column"
        data-testid="drill-plan-form"
        onSubmit={(event) => {
          event.preventDefault();
          run(rest.put<DrillPlan>("/v1/drills/plan", planOf(new FormData(event.currentTarget), config.region.tz)).then(takePlan));
        }}
      >
        <fieldset>
          <legend>Days of the week</legend>
          {WEEKDAYS.map((day) => (
            <label key={day}>
              <input type="checkbox" name="days" value={day} defaultChecked={weekly?.days.includes(day) ?? false} data-testid={`drill-${day}`} /> {DAY_WORDS[day]}
            </label>
          ))}
        </fieldset>
        <label>
          Times of day
          <input name="at" placeholder="10:30, 22:15" defaultValue={weekly?.at.join(", ") ?? ""} data-testid="drill-times" />
        </label>
        <label>
          By the clocks of
          <input name="tz" defaultValue={weekly?.tz ?? config.region.tz} data-testid="drill-tz" />
        </label>
        <label>
          Beside that every so many hours
          <input name="every_h" type="number" min={1} defaultValue={every_h ?? ""} data-testid="drill-every" />
        </label>
        <button type="submit" className="button" disabled={isBusy} data-testid="save-drill-plan">
          Save the plan
        </button>
        <p className="form-problem" role="alert">
          {problem}
        </p>
      </form>
    </details>
  );
}

function Results() {
  const desk = useDesk();
  const byId = useStore(desk.work.store, (state) => state.byId);
  const drills = useMemo(() => lastDrills(byId.values(), RESULTS), [byId]);
  if (drills.length === 0) return <p className="quiet small">No drill yet, as far as this desk remembers.</p>;
  return (
    <table className="table figures-table" data-testid="drill-results">
      <caption className="quiet small">The last drills</caption>
      <thead>
        <tr>
          <th scope="col">Began</th>
          <th scope="col" className="num">
            Answered after
          </th>
        </tr>
      </thead>
      <tbody>
        {drills.map(({ incidentId, openedAt, answeredAfterS, isClosed }) => (
          <tr key={incidentId} data-id={incidentId}>
            <th scope="row">
              <a href={hashOf({ name: "incident", id: incidentId })}>{new Date(openedAt).toLocaleString("en-GB")}</a>
            </th>
            <td className="num">{answeredAfterS !== null ? `${answeredAfterS.toFixed(1)} s` : isClosed ? "closed unanswered" : "waiting"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
