-- A project's quotes, newest first: ids are in the order of time.
create index quotes_in_order on metering.quotes (project_id, id);
