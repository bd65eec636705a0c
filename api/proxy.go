package api

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/labstack/echo/v4"
)

// clientAddress finds the address of a request's client: the peer's, or what a named proxy says of
// it in X-Forwarded-For, from right to left up to the first address that is none of the proxies.
// A header that cannot be read whole up to there counts for nothing.
//
// X-Forwarded-Proto, X-Forwarded-Host and Forwarded are never read: LONGHAUL_PUBLIC_URL says how
// the server is reached, whatever a request says.
func (s *Server) clientAddress() echo.IPExtractor {
	if len(s.Proxies) == 0 {
		return s.warnOfProxies(echo.ExtractIPDirect())
	}
	// Without these the library takes the word of all machines near by.
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, proxy := range s.Proxies {
		options = append(options, echo.TrustIPRange(&net.IPNet{
			IP: proxy.Masked().Addr().AsSlice(), Mask: net.CIDRMask(proxy.Bits(), proxy.Addr().BitLen()),
		}))
	}
	return s.warnOfProxies(echo.ExtractIPFromXFFHeader(options...))
}

// warnOfProxies says once that a header is there which is not read: where a proxy was forgotten in
// the settings, all its clients are taken for one.
func (s *Server) warnOfProxies(extract echo.IPExtractor) echo.IPExtractor {
	var once sync.Once
	return func(r *http.Request) string {
		if r.Header.Get(echo.HeaderXForwardedFor) != "" {
			if peer := echo.ExtractIPDirect()(r); !s.isProxy(peer) {
				once.Do(func() {
					s.Logger.WarnContext(r.Context(), "X-Forwarded-For is not believed, and all clients behind this address count as one: LONGHAUL_TRUSTED_PROXIES does not name it", "address", peer)
				})
			}
		}
		return extract(r)
	}
}

func (s *Server) isProxy(address string) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, proxy := range s.Proxies {
		if proxy.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}
