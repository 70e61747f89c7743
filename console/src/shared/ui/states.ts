import type { BookingState } from "../protocol/types";
import type { WorkerStatus } from "../protocol/frames";

/** Shapes that tell states apart without colour. */
export type Shape = "circle" | "ring" | "diamond" | "square" | "triangle" | "bars" | "check" | "cross" | "half" | "alarm";

export interface Look {
  readonly label: string;
  readonly shape: Shape;
  /** A CSS custom property of tokens.css. */
  readonly colour: string;
}

export const BOOKING_LOOKS: Readonly<Record<BookingState, Look>> = {
  searching: { label: "Searching", shape: "ring", colour: "--searching" },
  offered: { label: "Offered", shape: "diamond", colour: "--offered" },
  assigned: { label: "Assigned", shape: "half", colour: "--busy" },
  en_route: { label: "En route", shape: "triangle", colour: "--busy" },
  arrived: { label: "Arrived", shape: "square", colour: "--busy" },
  in_progress: { label: "In progress", shape: "bars", colour: "--working" },
  completed: { label: "Completed", shape: "circle", colour: "--free" },
  confirmed: { label: "Confirmed", shape: "check", colour: "--free" },
  cancelled: { label: "Cancelled", shape: "cross", colour: "--silent" },
  unserved: { label: "Unserved", shape: "cross", colour: "--offered" },
};

export const WORKER_LOOKS: Readonly<Record<WorkerStatus, Look>> = {
  free: { label: "Free", shape: "circle", colour: "--free" },
  offered: { label: "Offered", shape: "diamond", colour: "--offered" },
  busy: { label: "Busy", shape: "square", colour: "--busy" },
  silent: { label: "Silent", shape: "ring", colour: "--silent" },
  tracked: { label: "Off duty, alarm", shape: "alarm", colour: "--tracked" },
};

export const ALARM_LOOK: Look = { label: "Alarm", shape: "alarm", colour: "--alarm" };

/** Nothing more will happen to a booking in one of these. */
export const ENDED_STATES: ReadonlySet<BookingState> = new Set(["confirmed", "cancelled", "unserved"]);

/** What a customer or a worker reads for a state: words first. */
export const BOOKING_WORDS: Readonly<Record<BookingState, string>> = {
  searching: "Looking for someone near you",
  offered: "Asking a worker near you",
  assigned: "Your worker is getting ready",
  en_route: "Your worker is on the way",
  arrived: "Your worker is at the door",
  in_progress: "Work in progress",
  completed: "Work done: please confirm",
  confirmed: "All done, thank you",
  cancelled: "This booking was cancelled",
  unserved: "Nobody was free in time",
};
