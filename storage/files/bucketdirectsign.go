package files

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// SignedFor is how long a request that was signed for somebody else may be begun.
const SignedFor = 15 * time.Minute

// Signed is a request to the bucket that somebody else may send, for [SignedFor].
type Signed struct {
	URL string
	// Headers must be sent as they are; Content-Length is one of them where the length is bound.
	Headers map[string]string
	// Fields are those of a form, for a POST; nil for a PUT.
	Fields map[string]string
}

// PartOrder is a part that is to be signed for.
type PartOrder struct {
	Number int32
	// Length binds it to that many bytes; 0 for any.
	Length int64
	// Sum binds it to bytes with that checksum, of the kind of [Direct.Checksum], as Base64.
	Sum string
}

// SignPart signs a PUT of a part.
func (b *Bucket) SignPart(ctx context.Context, g Growth, order PartOrder) (Signed, error) {
	name, err := b.name(g.Key)
	if err != nil {
		return Signed{}, err
	}
	input := &s3.UploadPartInput{Bucket: &b.bucket, Key: &name, UploadId: &g.UploadID, PartNumber: &order.Number}
	if order.Length > 0 {
		input.ContentLength = &order.Length
	}
	if order.Sum != "" {
		switch g.Direct.Checksum {
		case CRC32C:
			input.ChecksumCRC32C = &order.Sum
		case SHA256:
			input.ChecksumSHA256 = &order.Sum
		default:
			return Signed{}, errors.New("the parts of this file have no checksums")
		}
	}
	signed, err := b.presigner().PresignUploadPart(ctx, input)
	if err != nil {
		return Signed{}, fmt.Errorf("sign part %d of file %s: %w", order.Number, g.Key, b.explain(err))
	}
	return Signed{URL: signed.URL, Headers: plainHeaders(signed.SignedHeader)}, nil
}

// SignForm signs a form that sends a file as a whole, of up to most bytes, to g.Direct.From; 0 means
// as many as the bucket takes at once, which is [MostPart]. With exactly, most is how many it must
// have, also when that is 0; the error of more than MostPart wraps [ErrTooLarge].
func (b *Bucket) SignForm(ctx context.Context, g Growth, most int64, exactly bool) (Signed, error) {
	name, err := b.name(g.Direct.From)
	if err != nil {
		return Signed{}, err
	}
	least := int64(0)
	switch {
	case exactly && most > MostPart:
		return Signed{}, fmt.Errorf("sign a form for file %s: %w: it would have %d bytes, of at most %d at once", g.Key, ErrTooLarge, most, int64(MostPart))
	case exactly:
		least = most
	case most <= 0 || most > MostPart:
		most = MostPart
	}
	// The media type is not for who reads it: it is kept with the upload, and checked by nobody.
	const octets = "application/octet-stream"
	signed, err := b.presigner().PresignPostObject(ctx, &s3.PutObjectInput{Bucket: &b.bucket, Key: &name}, func(o *s3.PresignPostOptions) {
		o.Expires = SignedFor
		o.Conditions = []any{
			[]any{"content-length-range", least, most},
			map[string]string{"content-type": octets},
			map[string]string{"success_action_status": "201"},
		}
	})
	if err != nil {
		return Signed{}, fmt.Errorf("sign a form for file %s: %w", g.Key, b.explain(err))
	}
	signed.Values["content-type"], signed.Values["success_action_status"] = octets, "201"
	return Signed{URL: signed.URL, Fields: signed.Values}, nil
}

func (b *Bucket) presigner() *s3.PresignClient {
	return s3.NewPresignClient(b.client, s3.WithPresignExpires(SignedFor), func(o *s3.PresignOptions) {
		o.Presigner = headerSigner{v4.NewSigner()}
	})
}

// headerSigner leaves headers what they are. The client's own moves them into the URL, where not
// every service looks for a checksum.
type headerSigner struct{ *v4.Signer }

// PresignHTTP implements [s3.HTTPPresignerV4].
func (s headerSigner) PresignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request, payloadHash, service, region string,
	at time.Time, options ...func(*v4.SignerOptions),
) (string, http.Header, error) {
	options = append(options, func(o *v4.SignerOptions) { o.DisableHeaderHoisting, o.DisableURIPathEscaping = true, true })
	return s.Signer.PresignHTTP(ctx, credentials, r, payloadHash, service, region, at, options...)
}

// plainHeaders are the headers that whoever sends a signed request must set: every client sets Host
// by itself.
func plainHeaders(signed http.Header) map[string]string {
	headers := make(map[string]string)
	for name := range signed {
		if name != "Host" {
			headers[name] = signed.Get(name)
		}
	}
	return headers
}
