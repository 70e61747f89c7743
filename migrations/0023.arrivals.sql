-- Arrivals in the order of time: how long the ways to customers took is learned from them.
-- depends: 0022.crews

CREATE INDEX booking_event_arrived ON booking_event (at) WHERE state_to = 'arrived';
