-- Who may do what: people, their memberships of apps, their API tokens and their sessions.

-- A person as the identity provider knows them. The row is made at the first sign-in and brought
-- up to date at each.
CREATE TABLE people (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    issuer          text NOT NULL,             -- the provider's, or 'local'
    subject         text NOT NULL,             -- what stays when the person is renamed there
    login           text NOT NULL CHECK (login = lower(login) AND login <> ''),
    name            text NOT NULL DEFAULT '',
    email           text NOT NULL DEFAULT '',
    groups          text[] NOT NULL DEFAULT '{}',  -- as the provider last told
    created_at      timestamptz NOT NULL DEFAULT now(),
    signed_in_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, subject),
    -- Memberships name people by login: of two people with one login, the second may not come in.
    UNIQUE (issuer, login)
);

-- Who signs in with the admin token of local mode.
INSERT INTO people (id, issuer, subject, login, name)
VALUES ('00000000-0000-4000-8000-000000000001', 'local', 'admin', 'admin', 'Administrator');

-- What a person, or everybody in a group of the provider, may do with an app.
CREATE TABLE members (
    app        text NOT NULL REFERENCES apps (name) ON DELETE CASCADE,
    kind       text NOT NULL CHECK (kind IN ('person', 'group')),
    member     text NOT NULL CHECK (member <> ''),     -- a login, or the group's name
    role       text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    see_data   boolean NOT NULL,
    -- The role as bits, as storage.Rights has them: 1 view, 2 operate, 4 data, 8 manage.
    rights     int NOT NULL GENERATED ALWAYS AS (
        CASE role WHEN 'viewer' THEN 1 WHEN 'operator' THEN 3 ELSE 11 END
        + CASE WHEN see_data THEN 4 ELSE 0 END) STORED,
    added_by   text NOT NULL,
    added_at   timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app, kind, member),
    CONSTRAINT viewer_sees_no_data CHECK (role <> 'viewer' OR NOT see_data)
);
CREATE INDEX members_member ON members (kind, member);

-- What somebody may do with each app. Their own membership counts alone where there is one;
-- otherwise all that their groups give.
CREATE FUNCTION rights_of(who text, in_groups text[]) RETURNS TABLE (app text, rights int)
LANGUAGE sql STABLE AS $$
    SELECT m.app, coalesce(bit_or(m.rights) FILTER (WHERE m.kind = 'person'), bit_or(m.rights))
    FROM members m
    WHERE (m.kind = 'person' AND m.member = who) OR (m.kind = 'group' AND m.member = ANY (in_groups))
    GROUP BY m.app
$$;

-- The apps that a caller may reach with the right that is needed: the one place that says so.
-- An instance admin reaches all; a token only its own apps (null: all) and only with its scopes.
-- In plpgsql, which keeps its plan: a function in sql would be parsed and planned at every use.
CREATE FUNCTION reach(everything boolean, who text, in_groups text[], only_apps text[], scopes int, needed int)
RETURNS SETOF text
LANGUAGE plpgsql STABLE ROWS 10 AS $$
BEGIN
    IF (scopes & needed) <> needed THEN
        RETURN;
    END IF;
    IF everything THEN
        RETURN QUERY SELECT a.name FROM apps a WHERE only_apps IS NULL OR a.name = ANY (only_apps);
        RETURN;
    END IF;
    RETURN QUERY
        SELECT r.app FROM rights_of(who, in_groups) r
        WHERE (r.rights & needed) = needed AND (only_apps IS NULL OR r.app = ANY (only_apps));
END
$$;

-- API tokens; the token itself is shown once and kept as a digest only.
CREATE TABLE tokens (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    person_id       uuid NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    sha256          bytea NOT NULL UNIQUE,
    hint            text NOT NULL,             -- how the token begins, to tell it from others
    scopes          int NOT NULL CHECK (scopes BETWEEN 1 AND 31), -- bits as in members, and 16 for the instance
    apps            text[],                    -- null: all that its owner reaches
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz,
    used_at         timestamptz,
    used_address    text
);
CREATE INDEX tokens_person ON tokens (person_id);

-- What the library that keeps the sessions does not know about them. token holds a digest; the
-- sessions from before held the token itself and end here.
DELETE FROM sessions;
ALTER TABLE sessions
    ADD COLUMN id           uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    ADD COLUMN person_id    uuid REFERENCES people (id) ON DELETE CASCADE,
    ADD COLUMN provider_sid text,              -- the provider's session, for its back-channel logout
    ADD COLUMN created_at   timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN seen_at      timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN address      text NOT NULL DEFAULT '',
    ADD COLUMN user_agent   text NOT NULL DEFAULT '';
CREATE INDEX sessions_person ON sessions (person_id);

-- Logout tokens of the provider that were taken, so that none counts twice.
CREATE TABLE logout_tokens (
    jti        text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
