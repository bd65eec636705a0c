package storage

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// # The chain
//
// Lines are sealed in batches, in the order of their ids, a second or so after their transactions
// end. A seal lists the digest of each of its lines and is authenticated, with the hash of the
// seal before it, by HMAC-SHA-256 under a key that the database holds only encrypted: who can
// change the database alone can change neither a line nor a seal without its being found.
//
// A line is encoded, for its digest, as
//
//	"longhaul audit line 1\0" | at | actor | token | action | app | object | outcome | detail | address | request_id
//
// where at is microseconds since 1970 in 8 bytes, and each text its length in 4 bytes and then
// its UTF-8; the length of a null is 0xffffffff. The digest is the first 16 bytes of the HMAC.
// The line's id is not in it but beside it, which tells lines that changed places from lines that
// were changed. A seal is encoded, for its hash, as
//
//	"longhaul audit seal 1\0" | seq | first_id | last_id | lines | from_at | to_at | sealed_at | previous | digests
//
// with numbers and times in 8 bytes, previous in 32, and in digests for each line 8 bytes of its
// id, 8 of its time and 16 of its digest. All numbers are big-endian.
//
// The end of the chain is not protected by the chain: the last seals could be deleted together
// with their lines. Hence [AuditHead]: a seal named outside the database, as in the server's log,
// must still be there. And a running server remembers the last seal it saw; when that one is gone
// it says so in the trail and in the log.
const (
	lineLabel = "longhaul audit line 1\x00"
	sealLabel = "longhaul audit seal 1\x00"

	// sealLines is how many lines a seal has at most, so that sealing and checking take a bounded
	// memory. The table's CHECK says the same.
	sealLines  = 1000
	digestSize = 16
	entrySize  = 8 + 8 + digestSize
)

// AuditKey authenticates the seals of the audit trail.
type AuditKey struct{ key []byte }

// String keeps the key out of logs.
func (AuditKey) String() string { return "[key]" }

// auditSecret is the key's name in the table secrets.
const auditSecret = "audit-key"

// OpenAuditKey returns the key of the audit trail's seals: 32 random bytes, made once and kept
// sealed. ErrNotFound when there is none yet.
func OpenAuditKey(ctx context.Context, q Querier, s *Sealer) (AuditKey, error) {
	sealed, err := secret(ctx, q, auditSecret)
	if err != nil {
		return AuditKey{}, err
	}
	key, err := s.Open(SecretID(auditSecret), sealed)
	if err != nil {
		return AuditKey{}, err
	}
	if len(key) != sha256.Size {
		return AuditKey{}, fmt.Errorf("the secret %s is not a key: it has %d bytes; restore it from a backup of the database", auditSecret, len(key))
	}
	return AuditKey{key}, nil
}

// makeAuditKey stores a new key if there is none. It does not where there are seals: they were
// made with a key that somebody removed, and a new one would begin a new chain in silence.
func makeAuditKey(ctx context.Context, q Querier, s *Sealer) error {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails, as its documentation states
	_, err := q.Exec(ctx, `
		INSERT INTO secrets (name, sealed) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM audit_seals)
		ON CONFLICT DO NOTHING`, auditSecret, s.Seal(SecretID(auditSecret), key))
	return err
}

func (k AuditKey) mac(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k.key)
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// sealedLine is a line of the audit trail as it is sealed: every column, and nulls apart from
// empty texts.
type sealedLine struct {
	id    int64
	at    time.Time
	texts [9]*string
}

const auditSealColumns = `id, at, actor, token, action, app, object, outcome, detail, address, request_id`

func scanSealedLine(row pgx.CollectableRow) (sealedLine, error) {
	var l sealedLine
	t := &l.texts
	err := row.Scan(&l.id, &l.at, &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7], &t[8])
	return l, err
}

// encode is the encoding of the line, without its id.
func (l *sealedLine) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte(lineLabel), uint64(l.at.UnixMicro()))
	for _, text := range l.texts {
		if text == nil {
			b = binary.BigEndian.AppendUint32(b, 0xffffffff)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(*text)))
		b = append(b, *text...)
	}
	return b
}

// auditEntry is what a seal says of a line.
type auditEntry struct {
	id     int64
	at     time.Time
	digest [digestSize]byte
}

func (k AuditKey) entry(l *sealedLine) auditEntry {
	return auditEntry{l.id, l.at, [digestSize]byte(k.mac(l.encode()))}
}

func (e *auditEntry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.id))
	b = binary.BigEndian.AppendUint64(b, uint64(e.at.UnixMicro()))
	return append(b, e.digest[:]...)
}

// auditSeal is a row of the table audit_seals.
type auditSeal struct {
	Seq      int64
	FirstID  int64
	LastID   int64
	Lines    int32
	FromAt   time.Time
	ToAt     time.Time
	SealedAt time.Time
	Digests  []byte
	Previous []byte
	Hash     []byte
}

const sealColumns = `seq, first_id, last_id, lines, from_at, to_at, sealed_at, digests, previous, hash`

// seal makes the seal that follows last, of lines in the order of ids. Before the first, last is zero.
func (k AuditKey) seal(last *auditSeal, lines []sealedLine, now time.Time) *auditSeal {
	s := &auditSeal{
		Seq: last.Seq + 1, FirstID: lines[0].id, LastID: lines[len(lines)-1].id, Lines: int32(len(lines)),
		FromAt: lines[0].at, ToAt: lines[0].at, SealedAt: now,
		Previous: last.Hash, Digests: make([]byte, 0, entrySize*len(lines)),
	}
	if s.Seq == 1 {
		s.Previous = make([]byte, sha256.Size)
	}
	for i := range lines {
		if lines[i].at.Before(s.FromAt) {
			s.FromAt = lines[i].at
		}
		if lines[i].at.After(s.ToAt) {
			s.ToAt = lines[i].at
		}
		entry := k.entry(&lines[i])
		s.Digests = entry.append(s.Digests)
	}
	s.Hash = k.hash(s)
	return s
}

// hash is what a seal's column hash must be.
func (k AuditKey) hash(s *auditSeal) []byte {
	head := []byte(sealLabel)
	for _, number := range []int64{
		s.Seq, s.FirstID, s.LastID, int64(s.Lines), s.FromAt.UnixMicro(), s.ToAt.UnixMicro(), s.SealedAt.UnixMicro(),
	} {
		head = binary.BigEndian.AppendUint64(head, uint64(number))
	}
	return k.mac(head, s.Previous, s.Digests)
}

// entries are what the seal says of its lines. Only of a seal whose hash is right.
func (s *auditSeal) entries() []auditEntry {
	entries := make([]auditEntry, 0, len(s.Digests)/entrySize)
	for b := s.Digests; len(b) >= entrySize; b = b[entrySize:] {
		entries = append(entries, auditEntry{
			id:     int64(binary.BigEndian.Uint64(b)),
			at:     time.UnixMicro(int64(binary.BigEndian.Uint64(b[8:]))).UTC(),
			digest: [digestSize]byte(b[16:entrySize]),
		})
	}
	return entries
}

// AuditHead names a seal: kept outside of the database, it anchors the audit trail up to there.
type AuditHead struct {
	Seq  int64 // 0: no seal yet
	Hash []byte
}

// String is what ParseAuditHead reads: the seal's number, a colon and its hash in hexadecimal.
func (h AuditHead) String() string {
	return strconv.FormatInt(h.Seq, 10) + ":" + hex.EncodeToString(h.Hash)
}

// ParseAuditHead reads what String wrote.
func ParseAuditHead(text string) (AuditHead, error) {
	number, digits, _ := strings.Cut(text, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	hash, hexErr := hex.DecodeString(digits)
	if err != nil || hexErr != nil || seq < 0 || (seq > 0 && len(hash) != sha256.Size) {
		return AuditHead{}, fmt.Errorf("%q does not name a seal; write it as the server's log does: its number, a colon and 64 hexadecimal digits", text)
	}
	return AuditHead{seq, hash}, nil
}

// AuditBrokenError says that a seal is gone or was changed that this process has seen.
type AuditBrokenError struct{ Head AuditHead }

// Error says what to do as well.
func (e *AuditBrokenError) Error() string {
	return fmt.Sprintf("the seal %s of the audit trail is gone or was changed while this server ran: "+
		"somebody has changed the database by hand; run longhaul audit verify --head %s", e.Head, e.Head)
}

// AuditSealer seals the audit trail. Each process may run one; of those on a database one seals at
// a time. It is not for several goroutines.
type AuditSealer struct {
	db     *DB
	sealer *Sealer
	key    AuditKey
	head   AuditHead // the last seal this process has seen
	sealed int64     // the last line of that seal
	// settled is the number that ids had come to when every line up to it was sealed.
	settled int64

	// cut is the line up to which is sealed once all of writers have ended; 0: none is chosen.
	cut     int64
	writers []string
}

// NewAuditSealer makes a sealer; the key is opened, or made, at the first line.
func NewAuditSealer(db *DB, s *Sealer) *AuditSealer { return &AuditSealer{db: db, sealer: s} }

// Head names the last seal that this process has seen.
func (a *AuditSealer) Head() AuditHead { return a.head }

// Seal seals what has settled, and returns how many lines. Called again and again it gets to every
// line: those of transactions under way are left to the next call. waiting reports whether there
// are such. An AuditBrokenError does not keep it from sealing.
//
// Ids are drawn before their transactions commit, so a line can appear below one that is there
// already. Everyone who draws an id holds a lock on the table from before that until the end of
// the transaction (the lock of mode ROW EXCLUSIVE that every INSERT takes). So: choose the highest
// line there is, then see who holds that lock; when all of those have ended, no line can appear
// any more below the chosen one. A transaction's number in a snapshot would not do, since it may
// have none yet while it has drawn an id.
func (a *AuditSealer) Seal(ctx context.Context) (lines int, waiting bool, err error) {
	if a.cut == 0 {
		if err := a.choose(ctx); err != nil || a.cut == 0 {
			return 0, false, err
		}
	}
	if a.writers, err = a.holders(ctx, a.writers); err != nil || len(a.writers) > 0 {
		return 0, true, err
	}
	var broken error
	for {
		n, err := a.sealNext(ctx)
		lines += n
		if _, ok := errors.AsType[*AuditBrokenError](err); ok {
			broken = err
		} else if err != nil {
			return lines, false, errors.Join(broken, fmt.Errorf("seal the audit trail: %w", err))
		}
		if n < sealLines {
			a.cut = 0
			return lines, false, broken
		}
	}
}

// choose chooses the cut and notes who may still be writing below it.
func (a *AuditSealer) choose(ctx context.Context) error {
	var drawn, highest int64
	if err := a.db.Pool.QueryRow(ctx, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_id_seq`).Scan(&drawn); err != nil {
		return fmt.Errorf("seal the audit trail: %w", err)
	}
	if drawn == a.settled {
		return nil // once a second, mostly: nothing was written, and to know it must cost little
	}
	before, err := a.holders(ctx, nil)
	if err != nil {
		return err
	}
	if err := a.db.Pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM audit`).Scan(&highest); err != nil {
		return fmt.Errorf("seal the audit trail: %w", err)
	}
	if highest <= a.sealed {
		if len(before) == 0 {
			a.settled = drawn // whoever drew one up to it had ended before the highest line was read
		}
		return nil
	}
	// After the cut is read, not before and not with it.
	writers, err := a.holders(ctx, nil)
	if err != nil {
		return err
	}
	a.cut, a.writers = highest, writers
	return nil
}

// holders are the transactions that write lines at this moment; of those among, where given.
func (a *AuditSealer) holders(ctx context.Context, among []string) ([]string, error) {
	if among != nil && len(among) == 0 {
		return among, nil
	}
	rows, err := a.db.Pool.Query(ctx, `
		SELECT virtualtransaction FROM pg_locks
		WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = 'audit'::regclass
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND ($1::text[] IS NULL OR virtualtransaction = ANY($1))`, among)
	if err != nil {
		return nil, fmt.Errorf("see who writes to the audit trail: %w", err)
	}
	writers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("see who writes to the audit trail: %w", err)
	}
	return writers, nil
}

// sealNext makes one seal of the lines up to the cut, and returns how many it has.
func (a *AuditSealer) sealNext(ctx context.Context) (lines int, err error) {
	if err := a.openKey(ctx); err != nil {
		return 0, err
	}
	last, broken := new(auditSeal), false
	err = a.db.InTx(ctx, func(tx pgx.Tx) error {
		var now time.Time
		var mine bool
		err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('longhaul audit seal', 0)), now()`).Scan(&mine, &now)
		if err != nil {
			return err
		}
		if !mine {
			last = nil // another process is at it, and this one looks again a second later
			return nil
		}
		if last, err = lastSeal(ctx, tx); err != nil {
			return err
		}
		if broken, err = a.headBroken(ctx, tx); err != nil {
			return err
		}
		next, err := a.makeSeal(ctx, tx, last, now)
		if err == nil && next != nil {
			last, lines = next, int(next.Lines)
		}
		return err
	})
	if err != nil || last == nil {
		return 0, err
	}
	seen := a.head
	a.head, a.sealed = AuditHead{last.Seq, last.Hash}, last.LastID
	if broken {
		return lines, &AuditBrokenError{Head: seen}
	}
	return lines, nil
}

func (a *AuditSealer) openKey(ctx context.Context) (err error) {
	if a.key.key != nil {
		return nil
	}
	if a.key, err = OpenAuditKey(ctx, a.db.Pool, a.sealer); !errors.Is(err, ErrNotFound) {
		return err
	}
	// Of processes that start together, one makes it.
	if err := makeAuditKey(ctx, a.db.Pool, a.sealer); err != nil {
		return err
	}
	a.key, err = OpenAuditKey(ctx, a.db.Pool, a.sealer)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("the key of its seals is missing in the table secrets; restore that row from a backup: %w", err)
	}
	return err
}

// lastSeal returns the last seal, without its digests; a zero one when there is none.
func lastSeal(ctx context.Context, q Querier) (*auditSeal, error) {
	s := new(auditSeal)
	err := q.QueryRow(ctx, `SELECT seq, last_id, hash FROM audit_seals ORDER BY seq DESC LIMIT 1`).Scan(&s.Seq, &s.LastID, &s.Hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	return s, err
}

// headBroken reports whether the last seal this process has seen is gone or another one, and if so
// says it in the trail.
func (a *AuditSealer) headBroken(ctx context.Context, tx pgx.Tx) (bool, error) {
	if a.head.Seq == 0 {
		return false, nil
	}
	var hash []byte
	err := tx.QueryRow(ctx, `SELECT hash FROM audit_seals WHERE seq = $1`, a.head.Seq).Scan(&hash)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	if bytes.Equal(hash, a.head.Hash) {
		return false, nil
	}
	return true, InsertAudit(ctx, tx, Audit{
		Actor: "longhaul", Action: actionBroken, Object: a.head.String(), Outcome: "failed",
		Detail: "the seal is gone or was changed",
	})
}

// makeSeal stores the seal that follows last, or none when no line is left below the cut.
func (a *AuditSealer) makeSeal(ctx context.Context, tx pgx.Tx, last *auditSeal, now time.Time) (*auditSeal, error) {
	rows, err := tx.Query(ctx, `
		SELECT `+auditSealColumns+` FROM audit WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3`, last.LastID, a.cut, sealLines)
	if err != nil {
		return nil, err
	}
	lines, err := pgx.CollectRows(rows, scanSealedLine)
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	s := a.key.seal(last, lines, now)
	_, err = tx.Exec(ctx, `INSERT INTO audit_seals (`+sealColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		s.Seq, s.FirstID, s.LastID, s.Lines, s.FromAt, s.ToAt, s.SealedAt, s.Digests, s.Previous, s.Hash)
	return s, err
}
