package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// device is a device code and what became of it.
type device struct {
	clientID       string
	userCode       string
	scopes         scopes
	ends, polledAt time.Time
	interval       time.Duration
	decided        bool
	userID         string // who allowed it; empty once decided: nobody
}

// devices are the device codes, by the code that the client holds.
type devices struct {
	mu   sync.Mutex
	held map[string]*device
}

// startDevice is POST /oauth2/v1/device.
func (d *Domain) startDevice(w http.ResponseWriter, r *http.Request) {
	app, refusal := d.clientRequest(w, r)
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	cfg := d.config()
	switch {
	case r.PostForm.Get("response_type") != "device_code":
		writeError(w, refuse("unsupported_response_type", "The response_type must be device_code."))
		return
	case !app.allows(GrantDeviceCode):
		writeError(w, refuse("unauthorized_client", "The client is not allowed the grant type device_code."))
		return
	}
	s, refusal := cfg.readScope(app, r.PostForm.Get("scope"))
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	name, userCode := d.devices.start(device{
		clientID: app.ID, scopes: s, ends: cfg.Now().Add(cfg.DeviceLife), interval: cfg.DeviceInterval,
	})
	page := origin(r) + pathDevicePage
	answer := map[string]any{
		"device_code": name, "user_code": userCode, "verification_uri": page,
		"expires_in": int(cfg.DeviceLife / time.Second),
	}
	if cfg.DeviceExtras {
		answer["interval"] = int(cfg.DeviceInterval / time.Second)
		answer["verification_uri_complete"] = page + "?user_code=" + url.QueryEscape(userCode)
	}
	writeSecret(w, answer)
}

func (s *devices) start(one device) (name, userCode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string]*device{}
	}
	name = secret()
	one.userCode = newUserCode()
	s.held[name] = &one
	return name, one.userCode
}

// newUserCode makes a code that people can type: eight consonants, so that no
// word comes out.
func newUserCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	var b strings.Builder
	for i := range 8 {
		if i == 4 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			panic(err) // the system's random bytes never fail
		}
		b.WriteByte(letters[n.Int64()])
	}
	return b.String()
}

// poll is a client asking whether its device was allowed; it is told so once.
func (s *devices) poll(name, clientID string, now time.Time) (device, *oauthError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.held[name]
	if one == nil || one.clientID != clientID {
		return device{}, refuse("invalid_grant", "The device code is invalid or already used.")
	}
	early := !one.polledAt.IsZero() && now.Sub(one.polledAt) < one.interval
	one.polledAt = now
	switch {
	case !now.Before(one.ends):
		return device{}, refuse("expired_token", "The device code is expired.")
	case early:
		one.interval += 5 * time.Second
		return device{}, refuse("slow_down", "The client polls too often.")
	case !one.decided:
		return device{}, refuse("authorization_pending", "The user has not decided yet.")
	case one.userID == "":
		return device{}, refuse("access_denied", "The user denied the request.")
	}
	delete(s.held, name)
	return *one, nil
}

// decide settles the device that shows a user code; an empty userID denies it.
func (s *devices) decide(userCode, userID string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.held {
		if plainCode(one.userCode) != plainCode(userCode) {
			continue
		}
		if one.decided || !now.Before(one.ends) {
			return errors.New("the code was used or is expired")
		}
		one.decided, one.userID = true, userID
		return nil
	}
	return errors.New("there is no such code")
}

// plainCode is a user code as typed, without what separates its parts.
func plainCode(code string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
}

// ApproveDevice allows the device that shows a code, as the user with a login
// name would on the page.
func (d *Domain) ApproveDevice(userCode, user string) error {
	cfg := d.config()
	found, ok := cfg.userByName(user)
	if !ok {
		return fmt.Errorf("approve device: there is no user %q", user)
	}
	if err := d.devices.decide(userCode, found.ID, cfg.Now()); err != nil {
		return fmt.Errorf("approve device: %w", err)
	}
	return nil
}

// DenyDevice refuses the device that shows a code.
func (d *Domain) DenyDevice(userCode string) error {
	if err := d.devices.decide(userCode, "", d.now()); err != nil {
		return fmt.Errorf("deny device: %w", err)
	}
	return nil
}

// devicePage is GET /ui/v1/device: a form for the code, and for who it is.
func (d *Domain) devicePage(w http.ResponseWriter, r *http.Request) {
	writePage(w, http.StatusOK, d.deviceForm(r, r.URL.Query().Get("user_code"), ""))
}

func (d *Domain) deviceForm(r *http.Request, userCode, message string) page {
	p := page{Title: "Activate your device", Message: message, Form: true, Code: true, UserCode: userCode}
	cfg := d.config()
	if in := d.session(r, cfg.Now()); in != nil {
		user, _ := cfg.userByID(in.userID)
		p.SignedIn = user.Name
	}
	return p
}

// decideDevice is POST /ui/v1/device with user_code, decision (allow or deny),
// and username and password where nobody is signed in.
func (d *Domain) decideDevice(w http.ResponseWriter, r *http.Request) {
	in, message := d.whoSignsIn(w, r)
	userCode := r.PostForm.Get("user_code")
	if in == nil {
		writePage(w, http.StatusUnauthorized, d.deviceForm(r, userCode, message))
		return
	}
	userID, done := in.userID, "The device is allowed. You may close this page."
	if r.PostForm.Get("decision") != "allow" {
		userID, done = "", "The device was denied."
	}
	if err := d.devices.decide(userCode, userID, d.now()); err != nil {
		writePage(w, http.StatusBadRequest, d.deviceForm(r, userCode, "The code is not valid: "+err.Error()+"."))
		return
	}
	writePage(w, http.StatusOK, page{Title: "Activate your device", Message: done})
}
