import type { Rest } from "./rest";

export interface TripLink {
  readonly url: string;
  readonly expires_at: string;
}

/** What a party of a trip does about its links. */
export interface TripLinkVerbs {
  /** A new link; its address is told this once. */
  readonly make: (bookingId: string) => Promise<TripLink>;
  /** End every link of one's own to a trip. */
  readonly end: (bookingId: string) => Promise<void>;
}

export function tripLinkVerbs(rest: Rest): TripLinkVerbs {
  const path = (bookingId: string): string => `/v1/bookings/${bookingId}/shares`;
  return {
    make: (bookingId) => rest.post<TripLink>(path(bookingId)),
    end: async (bookingId) => {
      await rest.delete(path(bookingId));
    },
  };
}
