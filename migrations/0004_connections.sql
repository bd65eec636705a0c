-- How apps sign in by OAuth 2: what they were told, the tokens they hold, and consents under way.

-- An app with auth_type oauth2 has one row; its client secret and private key are in
-- apps.auth_sealed. Tokens are sealed, each with an id of its own as associated data.
CREATE TABLE app_connections (
    app            text PRIMARY KEY REFERENCES apps (name) ON DELETE CASCADE,
    grant_type     text NOT NULL CHECK (grant_type IN ('device_code', 'refresh_token', 'jwt_bearer')),
    domain_url     text NOT NULL,
    client_id      text NOT NULL,
    scope          text NOT NULL,
    username       text NOT NULL DEFAULT '',  -- jwt_bearer: who the tokens are for,
    key_id         text NOT NULL DEFAULT '',  -- and the alias of the certificate

    access_sealed  bytea,                     -- refresh-token/, access-token/ and the app's name
    access_at      timestamptz,               -- when it was given out
    access_until   timestamptz,
    refresh_sealed bytea,
    refreshed_at   timestamptz,               -- when it was given out; null: told by a person, not used yet
    refresh_until  timestamptz,
    connected_by   text,                      -- who connected the app here
    connected_as   text,                      -- whose consent it is in the identity domain
    connected_at   timestamptz,

    -- Changed by whatever changes the tokens or begins to ask for new ones: what was read under
    -- another version is not acted upon.
    version        uuid NOT NULL DEFAULT gen_random_uuid(),
    -- A refresh token can be used once. Who is about to use it writes so before; a request that
    -- never wrote its end died with its process, and nobody knows whether the token is spent.
    asked_by       text,
    asked_at       timestamptz,
    unclear_at     timestamptz,               -- since when that is not known

    failures       int NOT NULL DEFAULT 0,    -- requests that failed since one went well
    retry_at       timestamptz,               -- no request before this time
    problem        text,
    problem_at     timestamptz,
    broken         boolean NOT NULL DEFAULT false, -- a person must do something

    CONSTRAINT access_whole CHECK (num_nulls(access_sealed, access_at, access_until) IN (0, 3)),
    CONSTRAINT asked_whole CHECK (num_nulls(asked_by, asked_at) IN (0, 2)),
    CONSTRAINT problem_whole CHECK (num_nulls(problem, problem_at) IN (0, 2)),
    CONSTRAINT broken_has_problem CHECK (NOT broken OR problem IS NOT NULL)
);
-- The sweep asks for those that are due.
CREATE INDEX app_connections_refresh ON app_connections (refreshed_at NULLS FIRST) WHERE refresh_sealed IS NOT NULL;

-- A consent that was asked for by device code (RFC 8628). The row goes when it is given.
CREATE TABLE app_consents (
    app                       text PRIMARY KEY REFERENCES app_connections (app) ON DELETE CASCADE,
    id                        uuid NOT NULL DEFAULT gen_random_uuid(), -- tells it from one that took its place
    started_by                text NOT NULL,
    started_at                timestamptz NOT NULL DEFAULT now(),
    expires_at                timestamptz NOT NULL,
    user_code                 text NOT NULL,
    verification_uri          text NOT NULL,
    verification_uri_complete text NOT NULL DEFAULT '',
    device_sealed             bytea NOT NULL,   -- device-code/ and the app's name
    interval_seconds          int NOT NULL CHECK (interval_seconds > 0),
    next_at                   timestamptz NOT NULL, -- when the domain may be asked next
    state                     text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'denied', 'expired', 'failed')),
    problem                   text
);
