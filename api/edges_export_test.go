package api

import "time"

// SetDeadlinesForTest makes the server wait less for slow clients. It is called before any request.
func (s *Server) SetDeadlinesForTest(body, upload, download time.Duration) {
	s.deadlines = deadlines{body, upload, download}
}

// LocalPathForTest is where a sign-in leads to.
func LocalPathForTest(next string) string { return localPath(next) }

// NeighbourhoodForTest is whom an address is counted with.
func NeighbourhoodForTest(address string) string { return neighbourhood(address) }
