-- Callers and operators see what is left of a limit without asking for a ride.
grant select on admission.buckets to taximeter_app;
