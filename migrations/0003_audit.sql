-- The audit trail: it only grows, lies by month, and is sealed in a chain of hashes. What a line
-- says is told in storage/audit.go, how lines are sealed in storage/auditseal.go, and what the
-- server's own role may do with all this in storage/grant.go.

ALTER TABLE audit RENAME TO audit_before;
ALTER TABLE audit_before RENAME CONSTRAINT audit_pkey TO audit_before_pkey;
ALTER SEQUENCE audit_id_seq RENAME TO audit_before_id_seq;

CREATE TABLE audit (
    -- The sealer relies on ids being drawn in order: the sequence must not cache (its default).
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,            -- the person's login; 'longhaul' for the server itself
    token      text,                     -- the API token they came with
    action     text NOT NULL,            -- noun.verb: task.create, task.cancel, app.update
    app        text,
    object     text,                     -- id or name of what it was done to
    outcome    text NOT NULL DEFAULT 'ok' CHECK (outcome IN ('ok', 'refused', 'failed')),
    detail     text,                     -- a few words, such as why it was refused
    address    text,                     -- the caller's network address
    request_id text
) PARTITION BY RANGE (at);

-- Not as a primary key: pg_restore --clean cannot drop the partitions' share of one.
CREATE UNIQUE INDEX audit_by_id ON audit (id, at);

-- For the filters, newest first. Nearly all lines are of tasks being started, and each costs an
-- entry in every index: who looks for an action looks for another one.
CREATE INDEX audit_by_app ON audit (app, id) WHERE app IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_action ON audit (action, id) WHERE action <> 'task.create';

-- Each seal vouches for the lines after the seal before it, up to last_id, and for that seal.
CREATE TABLE audit_seals (
    seq        bigint PRIMARY KEY CHECK (seq >= 1),
    first_id   bigint NOT NULL,
    last_id    bigint NOT NULL,
    lines      int NOT NULL CHECK (lines BETWEEN 1 AND 1000),
    from_at    timestamptz NOT NULL,     -- the earliest and the latest time of its lines
    to_at      timestamptz NOT NULL,
    sealed_at  timestamptz NOT NULL,
    digests    bytea NOT NULL,           -- 32 bytes for each line: its id, its time, its digest
    previous   bytea NOT NULL,           -- hash of the seal before it; zeros for the first
    hash       bytea NOT NULL            -- HMAC-SHA-256 of all the above
);
ALTER TABLE audit_seals ALTER COLUMN digests SET STORAGE EXTERNAL; -- digests do not compress

-- Keys and the like, encrypted as storage/sealer.go tells.
CREATE TABLE secrets (
    name   text PRIMARY KEY,
    sealed bytea NOT NULL
);

-- How long the server must keep the trail at least, whatever its setting says: only the owner of
-- the tables sets it (longhaul migrate --grant-to).
CREATE TABLE audit_retention (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    at_least interval NOT NULL DEFAULT '0'
);
INSERT INTO audit_retention DEFAULT VALUES;

-- Grants do not bind a superuser, which the private Postgres's user is; the trigger does.
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail only grows: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

-- Statement triggers are not handed down to partitions, so that each gets its own.
CREATE FUNCTION audit_guard(guarded regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM PUBLIC, CURRENT_USER', guarded);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
        'FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()', guarded);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', guarded);
END
$$;

-- Makes the partition of the month that begins at the given time, if there is none. It is made
-- first and attached then, which holds up no insert.
CREATE FUNCTION audit_add_month(month timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := 'audit_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass(format('%I.%I', current_schema(), name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    PERFORM audit_guard(format('%I.%I', current_schema(), name)::regclass);
    EXECUTE format('ALTER TABLE audit ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, month, month + interval '1 month');
END
$$;

-- Makes the partitions of this month and the next two. Lines whose month had none, because no
-- server ran while months went by or because a clock was wrong, lie in the partition audit_default,
-- so that no insert ever fails; they are moved to where they belong. Returns how many.
CREATE FUNCTION audit_add_months() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    month timestamptz;
    moved bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul audit months', 0));
    IF EXISTS (SELECT FROM audit_default) THEN
        ALTER TABLE audit DETACH PARTITION audit_default;
        ALTER TABLE audit_default RENAME TO audit_moved;
        FOR month IN SELECT DISTINCT date_trunc('month', at) FROM audit_moved LOOP
            PERFORM audit_add_month(month);
        END LOOP;
        INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM audit_moved;
        GET DIAGNOSTICS moved = ROW_COUNT;
        DROP TABLE audit_moved;
        CREATE TABLE audit_default PARTITION OF audit DEFAULT;
        PERFORM audit_guard('audit_default');
    END IF;
    FOR ahead IN 0..2 LOOP
        PERFORM audit_add_month(date_trunc('month', now()) + ahead * interval '1 month');
    END LOOP;
    RETURN moved;
END
$$;

-- Drops the months whose end is longer ago than keep and than audit_retention says, oldest first,
-- as far as their lines are sealed, with a line of the trail for each. Returns how many lines.
CREATE FUNCTION audit_drop_months(keep interval) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    name text;
    month timestamptz;
    first_id bigint;
    last_id bigint;
    lines bigint;
    dropped bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('longhaul audit months', 0));
    SELECT greatest(keep, at_least, interval '1 month') INTO STRICT keep FROM audit_retention;
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit'::regclass AND c.relname ~ '^audit_\d{4}_\d\d$'
        ORDER BY c.relname
    LOOP
        month := to_timestamp(substr(name, 7), 'YYYY_MM');
        EXIT WHEN month + interval '1 month' + keep > now();
        EXECUTE format('SELECT count(*), min(id), max(id) FROM %I', name) INTO lines, first_id, last_id;
        EXIT WHEN last_id > coalesce((SELECT max(s.last_id) FROM audit_seals s), 0);
        EXECUTE format('DROP TABLE %I', name);
        INSERT INTO audit (actor, action, object, detail)
        VALUES ('longhaul', 'audit.drop', to_char(month, 'YYYY-MM'),
            format('%s lines, ids %s to %s', lines, coalesce(first_id, 0), coalesce(last_id, 0)));
        dropped := dropped + lines;
    END LOOP;
    RETURN dropped;
END
$$;

-- The two that others may be granted run as the owner of the tables, and find nothing but the
-- tables of this schema under their names. Months are those of UTC. Whoever holds a lock on the
-- trail for long, a dump for example, is not waited for: inserts would queue up behind.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_add_months()', 'audit_drop_months(interval)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', name, current_schema());
        EXECUTE format('ALTER FUNCTION %s SET timezone = ''UTC''', name);
        EXECUTE format('ALTER FUNCTION %s SET lock_timeout = ''250ms''', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
    END LOOP;
END
$$;

CREATE TABLE audit_default PARTITION OF audit DEFAULT;
SELECT audit_guard(t) FROM unnest('{audit, audit_default, audit_seals}'::regclass[]) AS t;

-- The lines from before keep their ids.
INSERT INTO audit (id, at, actor, action, app, object, address, request_id) OVERRIDING SYSTEM VALUE
SELECT id, at, actor, action, app, object, address, request_id FROM audit_before ORDER BY id;
SELECT setval(pg_get_serial_sequence('audit', 'id'), max(id)) FROM audit HAVING max(id) IS NOT NULL;
DROP TABLE audit_before;
SELECT audit_add_months();
