package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"longhaul/jobs"
	"longhaul/storage"
)

// An API token is lh_, 256 random bits and a CRC-32 of what goes before it, in base64url. The
// checksum lets a mistyped token, and a scanner's find, be told from a real one without a query.
const (
	tokenPrefix   = "lh_"
	tokenBytes    = 32
	tokenHintSize = 8
)

// newToken makes an API token.
func newToken() string {
	random := make([]byte, tokenBytes, tokenBytes+4)
	rand.Read(random) // never fails, as its documentation states
	sum := crc32.ChecksumIEEE(random)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(random, sum))
}

// wellFormedToken reports whether text has the shape and the checksum of an API token.
func wellFormedToken(text string) bool {
	if len(text) < len(tokenPrefix) {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text[len(tokenPrefix):])
	return err == nil && len(raw) == tokenBytes+4 &&
		crc32.ChecksumIEEE(raw[:tokenBytes]) == binary.BigEndian.Uint32(raw[tokenBytes:])
}

// Token is an API token, without the token itself.
type Token struct {
	ID          string     `json:"id" format:"uuid"`
	Name        string     `json:"name"`
	Hint        string     `json:"hint" doc:"How the token begins"`
	Scopes      []string   `json:"scopes" nullable:"false" enum:"view,operate,data,manage,instance"`
	Apps        []string   `json:"apps" doc:"The only apps it reaches; null: all that its owner reaches"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at" doc:"null: it does not expire by itself"`
	UsedAt      *time.Time `json:"used_at" doc:"To the minute; null: never"`
	UsedAddress *string    `json:"used_address"`
}

// NewToken is a request for an API token.
type NewToken struct {
	Name   string   `json:"name" minLength:"1" maxLength:"100" doc:"What it is for; the audit trail names it"`
	Scopes []string `json:"scopes" minItems:"1" uniqueItems:"true" enum:"view,operate,data,manage,instance" doc:"What it may be used for. It never reaches further than its owner does at the time"`
	Apps   []string `json:"apps,omitempty" maxItems:"100" uniqueItems:"true" doc:"The only apps it reaches; left out: all that its owner reaches"`
	Days   int      `json:"days,omitempty" minimum:"1" maximum:"3650" doc:"How long it lasts; left out: until it is revoked"`
}

// MadeToken is a new API token. It is the only answer that holds the token itself.
type MadeToken struct {
	Token
	Secret string `json:"token" doc:"The token. It is shown this once and cannot be shown again"`
}

type (
	createTokenInput  struct{ Body NewToken }
	createTokenOutput struct {
		Location     string `header:"Location"`
		CacheControl string `header:"Cache-Control"`
		Body         MadeToken
	}
	listTokensOutput struct{ Body Page[Token] }
	tokenInput       struct {
		ID string `path:"id" doc:"The token's id"`
	}
	tokenOutput struct{ Body Token }
)

func (s *Server) tokenRoutes() {
	tags, path := []string{"People"}, "/api/v1/tokens"
	huma.Register(s.huma, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: path, Tags: tags, Summary: "List your API tokens",
		Errors: []int{http.StatusUnauthorized},
	}, s.listTokens)
	huma.Register(s.huma, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: path, Tags: tags, Summary: "Make an API token", DefaultStatus: http.StatusCreated,
		Description: "Needs a session or a token of the sign-in provider: API tokens cannot make more of themselves.",
		Errors:      []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, s.createToken)
	huma.Register(s.huma, huma.Operation{
		OperationID: "get-token", Method: http.MethodGet, Path: path + "/{id}", Tags: tags, Summary: "Get one of your API tokens",
		Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.getToken)
	huma.Register(s.huma, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: path + "/{id}", Tags: tags, Summary: "Revoke an API token, at once",
		DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusUnauthorized, http.StatusNotFound},
	}, s.revokeToken)
}

// listTokens handles GET /api/v1/tokens, for people.
func (s *Server) listTokens(ctx context.Context, _ *struct{}) (*listTokensOutput, error) {
	found, err := s.db.Tokens(ctx, requestOf(ctx).caller.Person)
	if err != nil {
		return nil, err
	}
	out := &listTokensOutput{Body: Page[Token]{Items: []Token{}}}
	for i := range found {
		out.Body.Items = append(out.Body.Items, tokenBody(&found[i]))
	}
	return out, nil
}

// createToken handles POST /api/v1/tokens, for people.
func (s *Server) createToken(ctx context.Context, in *createTokenInput) (*createTokenOutput, error) {
	made, secret, err := s.makeToken(ctx, &in.Body)
	if err != nil {
		return nil, err
	}
	return &createTokenOutput{
		Location: "/api/v1/tokens/" + made.ID.String(), CacheControl: "no-store",
		Body: MadeToken{Token: tokenBody(made), Secret: secret},
	}, nil
}

// makeToken makes an API token for the caller and returns it with the token itself.
func (s *Server) makeToken(ctx context.Context, n *NewToken) (*storage.Token, string, error) {
	r := requestOf(ctx)
	scopes := storage.ParseRights(n.Scopes)
	if scopes.Has(storage.Instance) && !r.identity.rules() {
		return nil, "", invalidField("body.scopes", "only instance admins can make tokens with the scope instance")
	}
	for _, app := range n.Apps {
		if !r.identity.rights(app).Has(storage.View) || !s.appExists(ctx, app) {
			return nil, "", invalidField("body.apps", "there is no app "+app)
		}
	}
	secret := newToken()
	digest := sha256.Sum256([]byte(secret))
	token := &storage.Token{
		PersonID: r.caller.Person, Name: n.Name, SHA256: digest[:], Hint: secret[:tokenHintSize],
		Scopes: scopes | storage.View, Apps: slices.Clone(n.Apps),
	}
	if len(token.Apps) == 0 {
		token.Apps = nil
	}
	if n.Days > 0 {
		end := time.Now().AddDate(0, 0, n.Days)
		token.ExpiresAt = &end
	}
	err := s.db.InTx(ctx, func(tx pgx.Tx) error {
		if err := storage.InsertToken(ctx, tx, token); err != nil {
			return err
		}
		line := r.caller.Audit("token.create", "", token.ID.String())
		line.Detail = n.Name + ": " + token.Scopes.String()
		return storage.InsertAudit(ctx, tx, line)
	})
	return token, secret, err
}

func (s *Server) appExists(ctx context.Context, name string) bool {
	_, err := s.scope(ctx).App(ctx, name)
	return err == nil
}

// getToken handles GET /api/v1/tokens/{id}, for its owner.
func (s *Server) getToken(ctx context.Context, in *tokenInput) (*tokenOutput, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	found, err := s.db.Token(ctx, requestOf(ctx).caller.Person, id)
	if err != nil {
		return nil, err
	}
	return &tokenOutput{Body: tokenBody(&found)}, nil
}

// revokeToken handles DELETE /api/v1/tokens/{id}, for its owner.
func (s *Server) revokeToken(ctx context.Context, in *tokenInput) (*struct{}, error) {
	id, err := parseID(in.ID)
	if err != nil {
		return nil, err
	}
	return nil, s.dropToken(ctx, id)
}

func (s *Server) dropToken(ctx context.Context, id uuid.UUID) error {
	r := requestOf(ctx)
	return s.changeAccess(ctx, func(tx pgx.Tx) (storage.Audit, error) {
		name, err := storage.DeleteToken(ctx, tx, r.caller.Person, id)
		line := r.caller.Audit("token.revoke", "", id.String())
		line.Detail = name
		return line, err
	})
}

func tokenBody(t *storage.Token) Token {
	return Token{
		ID: t.ID.String(), Name: t.Name, Hint: t.Hint, Scopes: t.Scopes.Words(), Apps: t.Apps,
		CreatedAt: t.CreatedAt.UTC(), ExpiresAt: inUTC(t.ExpiresAt), UsedAt: inUTC(t.UsedAt), UsedAddress: t.UsedAddress,
	}
}

func invalidField(location, message string) error {
	return &jobs.Invalid{Detail: message, Fields: []jobs.Field{{Location: location, Message: message}}}
}
