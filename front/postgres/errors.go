package postgres

import (
	"errors"
	"strings"

	"github.com/countersign-dev/countersign"
	"github.com/countersign-dev/countersign/sanitize"
)

// The SQLSTATEs that this front gives by itself.
const (
	codeProtocol       = "08P01" // protocol_violation
	codeConnectionLost = "08006" // connection_failure
	codeFailedBlock    = "25P02" // in_failed_sql_transaction
	codeNoStatement    = "26000" // invalid_sql_statement_name
	codeBadAuth        = "28000" // invalid_authorization_specification
	codeBadPassword    = "28P01" // invalid_password
	codeNoCursor       = "34000" // invalid_cursor_name
	codeDuplicateName  = "42P03" // duplicate_cursor
	codeDenied         = "42501" // insufficient_privilege
	codeTooMany        = "53300" // too_many_connections
	codeTooManyOpen    = "53400" // configuration_limit_exceeded
	codeMemory         = "53200" // out_of_memory
	codeResultLimit    = "54000" // program_limit_exceeded
	codeNameTooLong    = "42622" // name_too_long
	codeReservedName   = "42939" // reserved_name
	codeSyntax         = "42601" // syntax_error
	codePending        = "55000" // object_not_in_prerequisite_state
	codeBadParameter   = "22023" // invalid_parameter_value
	codeUnsupported    = "0A000" // feature_not_supported
	codeCancelled      = "57014" // query_canceled
	codeShutdown       = "57P01" // admin_shutdown
	codeUnavailable    = "58000" // system_error
	codeNotNow         = "57P03" // cannot_connect_now
	codeInternal       = "XX000" // internal_error
)

// codeOf is the table from kind to SQLSTATE. What waits for signatures is 55000: drivers do not retry it by
// themselves, and it is none of the server's codes for a lack of rights.
func codeOf(kind countersign.ErrorKind) string {
	switch kind {
	case countersign.ErrInvalid:
		return codeBadParameter
	case countersign.ErrUnauthenticated:
		return codeBadPassword
	case countersign.ErrDenied:
		return codeDenied
	case countersign.ErrPending, countersign.ErrConflict:
		return codePending
	case countersign.ErrLimit:
		return codeTooManyOpen
	case countersign.ErrNotFound:
		return "42704" // undefined_object
	case countersign.ErrUnavailable:
		return codeUnavailable
	case countersign.ErrInternal:
		return codeInternal
	default:
		return codeInternal
	}
}

// reportOf says err in the protocol's words. What is not a *countersign.Error shows as an internal error.
func (c *conn) reportOf(err error) report {
	var e *countersign.Error
	if !errors.As(err, &e) {
		c.log.Error("internal error", "error", c.front.sanitizer.Text(err.Error()))
		return report{severity: "ERROR", code: codeInternal, message: "countersign: internal error", hint: "The gateway's log has the details."}
	}
	r := report{
		severity: "ERROR", code: codeOf(e.Kind),
		message: "countersign: " + e.Message.String(), detail: e.Detail.String(), hint: e.Hint.String(),
	}
	if e.Kind == countersign.ErrInternal || e.Kind == countersign.ErrUnavailable {
		if e.Err != nil {
			c.log.Error("refused", "message", e.Message, "cause", c.front.sanitizer.Text(e.Err.Error()))
		}
	}
	return r
}

// refusal is an error of this front's own, with the SQLSTATE that a server gives for the same.
type refusal struct{ report report }

func (r *refusal) Error() string { return r.report.message }

// as a server says it: no prefix, so that clients which look at the text find what they expect.
func serverError(code, message string) *refusal {
	return &refusal{report: report{severity: "ERROR", code: code, message: message}}
}

func own(code string, message, detail, hint sanitize.Clean) *refusal {
	return &refusal{report: report{
		severity: "ERROR", code: code,
		message: "countersign: " + message.String(), detail: detail.String(), hint: hint.String(),
	}}
}

// errorReport gives the report for any error that ends a message.
func (c *conn) errorReport(err error) report {
	var r *refusal
	if errors.As(err, &r) {
		return r.report
	}
	told := c.reportOf(err)
	var cut cutReport
	if errors.As(err, &cut) && isLimit(err) {
		told.code = codeResultLimit
	}
	if said := cut.fate.String(); said != "" {
		told.hint = strings.TrimSpace(said + " " + told.hint)
	}
	return told
}
