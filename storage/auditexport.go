package storage

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"
)

// AuditFormats are the formats that WriteAudit knows.
var AuditFormats = []string{"jsonl", "csv"}

// WriteAudit writes lines to w as they come, as JSON, one object a line ("jsonl"), or as CSV after
// RFC 4180 with a head ("csv"). It ends at the first error, of the lines or of w.
func WriteAudit(w io.Writer, format string, lines iter.Seq2[AuditLine, error]) error {
	switch format {
	case "jsonl":
		return writeAuditJSON(w, lines)
	case "csv":
		return writeAuditCSV(w, lines)
	}
	return fmt.Errorf("write the audit trail: there is no format %q; there are %s", format, strings.Join(AuditFormats, " and "))
}

func writeAuditJSON(w io.Writer, lines iter.Seq2[AuditLine, error]) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for line, err := range lines {
		if err != nil {
			return err
		}
		if err := encoder.Encode(line); err != nil {
			return fmt.Errorf("write the audit trail: %w", err)
		}
	}
	return nil
}

// auditHead names the columns of the CSV; they are the names in the JSON too.
var auditHead = []string{"id", "at", "actor", "token", "action", "app", "object", "outcome", "detail", "address", "request_id"}

func writeAuditCSV(w io.Writer, lines iter.Seq2[AuditLine, error]) error {
	table := csv.NewWriter(w)
	table.UseCRLF = true
	_ = table.Write(auditHead) // kept by the writer, as every error is; Error tells it
	for l, err := range lines {
		if err != nil {
			table.Flush()
			return err
		}
		cells := []string{
			strconv.FormatInt(l.ID, 10), l.At.Format(time.RFC3339Nano),
			l.Actor, l.Token, l.Action, l.App, l.Object, l.Outcome, l.Detail, l.Address, l.RequestID,
		}
		for i := range cells {
			cells[i] = harmlessCell(cells[i])
		}
		if err := table.Write(cells); err != nil {
			return fmt.Errorf("write the audit trail: %w", err)
		}
	}
	table.Flush()
	if err := table.Error(); err != nil {
		return fmt.Errorf("write the audit trail: %w", err)
	}
	return nil
}

// harmlessCell keeps a spreadsheet from taking a stranger's text for a formula: a quote mark goes
// before what could begin one, after OWASP's page on CSV injection.
func harmlessCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
