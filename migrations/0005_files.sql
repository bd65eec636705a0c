-- Files: contents that are kept once, uploads on their way in, an app's lasting files, and the
-- feed of their changes.

-- Bytes in the file storage, under the key .contents/<id>. Whoever needs them refers to them:
-- tasks, uploads, files and their earlier versions. A content to which nothing refers is removed
-- after a time of grace.
CREATE TABLE contents (
    id          uuid PRIMARY KEY,
    sha256      bytea NOT NULL CHECK (octet_length(sha256) = 32),
    size        bigint NOT NULL CHECK (size >= 0),
    encoding    text NOT NULL CHECK (encoding IN ('identity', 'zstd')), -- how it is stored
    stored_size bigint NOT NULL CHECK (stored_size >= 0),
    sums        bytea NOT NULL,                    -- CRC-32C of each MiB of the content
    takers      int NOT NULL DEFAULT 1,            -- how often the same bytes were taken in
    alone       boolean NOT NULL DEFAULT false,    -- for one taker: the same bytes are stored anew
    made_at     timestamptz NOT NULL DEFAULT now(),
    loose_since timestamptz DEFAULT now(),         -- when it may have lost its last reference; null: it is needed
    doomed_at   timestamptz,                       -- its file is being removed; nothing may refer to it any more
    damaged_at  timestamptz                        -- its file was found to be damaged; the same bytes are kept anew
);
CREATE UNIQUE INDEX contents_by_digest ON contents (sha256, size) WHERE NOT alone AND doomed_at IS NULL AND damaged_at IS NULL;
CREATE INDEX contents_loose ON contents (loose_since) WHERE loose_since IS NOT NULL;
CREATE INDEX contents_doomed ON contents (doomed_at) WHERE doomed_at IS NOT NULL;

-- release_content is for the tables that refer to contents: whatever drops a reference, the content
-- is looked at.
CREATE FUNCTION release_content() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.content IS NOT NULL AND (TG_OP = 'DELETE' OR NEW.content IS DISTINCT FROM OLD.content) THEN
        UPDATE contents SET loose_since = now() WHERE id = OLD.content;
    END IF;
    RETURN NULL;
END $$;

-- A task's archive, until it is unpacked.
ALTER TABLE tasks ADD COLUMN content uuid REFERENCES contents (id);
ALTER TABLE tasks ADD CONSTRAINT content_is_archive CHECK (content IS NULL OR input = 'archive');
CREATE INDEX tasks_content ON tasks (content) WHERE content IS NOT NULL;
CREATE TRIGGER tasks_release_content AFTER UPDATE OF content OR DELETE ON tasks
    FOR EACH ROW WHEN (OLD.content IS NOT NULL) EXECUTE FUNCTION release_content();

-- Checksums of a task's outputs, a CRC-32C of each MiB, apart from the task's row: they are needed
-- only when an output is read.
CREATE TABLE output_sums (
    task_id uuid NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    path    text NOT NULL,
    sums    bytea NOT NULL,
    PRIMARY KEY (task_id, path)
);

-- Bytes on their way in.
CREATE TABLE uploads (
    id            uuid PRIMARY KEY,
    app           text REFERENCES apps (name) ON DELETE CASCADE, -- null: for any app of its owner
    owner         uuid NOT NULL,                    -- the person; nobody else sees it
    created_by    text NOT NULL,                    -- the person's login
    protocol      text NOT NULL CHECK (protocol IN ('tus', 's3')),
    filename      text NOT NULL DEFAULT '',
    content_type  text NOT NULL DEFAULT '',
    metadata      jsonb NOT NULL DEFAULT '{}',      -- the client's own
    size          bigint CHECK (size >= 0),         -- null: not known yet
    received      bigint NOT NULL DEFAULT 0 CHECK (received >= 0),
    sha256        bytea CHECK (octet_length(sha256) = 32), -- what the client says it is; once finished, what it is
    partial       boolean NOT NULL DEFAULT false,   -- a piece of another
    pieces        uuid[],                           -- what it is put together from
    growth        json NOT NULL,                    -- files.Growth

    state         text NOT NULL DEFAULT 'receiving'
                  CHECK (state IN ('receiving', 'finishing', 'finished', 'failed')),
    version       bigint NOT NULL DEFAULT 1,
    checked       bigint NOT NULL DEFAULT 0,        -- bytes, while it is finishing
    message       text NOT NULL DEFAULT '',         -- what is done with it, or why it failed
    content       uuid REFERENCES contents (id),
    used_at       timestamptz,
    used_by       text,                             -- the task's id, or the file's app and path

    -- Who holds it: the request that writes, or the worker that finishes it. Only who knows the
    -- fence may write; it rises with each holder.
    fence         bigint NOT NULL DEFAULT 0,
    held_by       text,                             -- the process
    lease_until   timestamptz,                      -- of a worker
    due_at        timestamptz,                      -- when a worker may take it up
    tries         int NOT NULL DEFAULT 0,
    crashes       int NOT NULL DEFAULT 0,           -- tries in a row that did not end in order

    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    finished_at   timestamptz,

    CONSTRAINT received_fits CHECK (size IS NULL OR received <= size),
    CONSTRAINT finishing_is_due CHECK ((state = 'finishing') = (due_at IS NOT NULL)),
    CONSTRAINT finished_has_content CHECK ((content IS NOT NULL) = (state = 'finished' AND used_at IS NULL AND NOT partial)),
    CONSTRAINT used_is_finished CHECK (used_at IS NULL OR state = 'finished'),
    CONSTRAINT used_whole CHECK ((used_at IS NULL) = (used_by IS NULL))
);
CREATE INDEX uploads_by_owner ON uploads (owner, id);
CREATE INDEX uploads_by_app ON uploads (app) WHERE app IS NOT NULL;
CREATE INDEX uploads_expiry ON uploads (expires_at);
CREATE INDEX uploads_due ON uploads (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX uploads_content ON uploads (content) WHERE content IS NOT NULL;
CREATE TRIGGER uploads_release_content AFTER UPDATE OF content OR DELETE ON uploads
    FOR EACH ROW WHEN (OLD.content IS NOT NULL) EXECUTE FUNCTION release_content();

-- An app's lasting files, and what they were before.
CREATE TABLE files (
    app          text NOT NULL REFERENCES apps (name),
    path         text COLLATE "C" NOT NULL CHECK (octet_length(path) BETWEEN 1 AND 1024),
    version      bigint NOT NULL,                   -- counts the contents that the path has had
    content      uuid NOT NULL REFERENCES contents (id),
    content_type text NOT NULL,
    modified_at  timestamptz NOT NULL DEFAULT now(),
    modified_by  text NOT NULL,
    PRIMARY KEY (app, path)
);
CREATE INDEX files_content ON files (content);
CREATE TRIGGER files_release_content AFTER UPDATE OF content OR DELETE ON files
    FOR EACH ROW WHEN (OLD.content IS NOT NULL) EXECUTE FUNCTION release_content();

CREATE TABLE file_versions (
    app          text NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    path         text COLLATE "C" NOT NULL,
    version      bigint NOT NULL,
    content      uuid NOT NULL REFERENCES contents (id),
    content_type text NOT NULL,
    modified_at  timestamptz NOT NULL,
    modified_by  text NOT NULL,
    replaced_at  timestamptz NOT NULL DEFAULT now(), -- or deleted
    PRIMARY KEY (app, path, version)
);
CREATE INDEX file_versions_content ON file_versions (content);
CREATE INDEX file_versions_age ON file_versions (replaced_at);
CREATE TRIGGER file_versions_release_content AFTER UPDATE OF content OR DELETE ON file_versions
    FOR EACH ROW WHEN (OLD.content IS NOT NULL) EXECUTE FUNCTION release_content();

-- Every change of a file. A change is written in the transaction that makes it, and gets its place
-- in the feed, seq, after that has committed: ids are given before the commit, so a feed in their
-- order would skip what commits late.
CREATE TABLE changes (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq  bigint,
    app  text NOT NULL,
    path text COLLATE "C" NOT NULL,
    op   text NOT NULL CHECK (op IN ('put', 'delete')),
    file jsonb,                                     -- as it was then
    at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT put_has_file CHECK ((op = 'put') = (file IS NOT NULL))
);
-- The order by id + 0 is one that no other index has, so that this one is taken to look for changes
-- without a place, whatever the planner believes about how many there are.
CREATE INDEX changes_new ON changes ((id + 0)) WHERE seq IS NULL;
CREATE UNIQUE INDEX changes_in_order ON changes (seq);
CREATE INDEX changes_by_file ON changes (app, path, seq);

CREATE TABLE change_feed (
    alone boolean PRIMARY KEY DEFAULT true CHECK (alone),
    last  bigint NOT NULL DEFAULT 0,                -- the highest seq given
    floor bigint NOT NULL DEFAULT 0                 -- changes up to this one are no longer kept
);
INSERT INTO change_feed DEFAULT VALUES;
