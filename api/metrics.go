package api

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are what the process counts.
type Metrics struct {
	Registry     *prometheus.Registry
	removedCount *prometheus.CounterVec
	removedBytes *prometheus.CounterVec
}

// NewMetrics makes the metrics of a process that uses the pool.
func NewMetrics(pool *pgxpool.Pool) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		removedCount: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_removed_total", Help: "Files and records that the retention sweeps removed.",
		}, []string{"what"}),
		removedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "longhaul_removed_bytes_total", Help: "Bytes that the retention sweeps removed.",
		}, []string{"what"}),
	}
	m.Registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.removedCount, m.removedBytes,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "longhaul_database_connections_in_use", Help: "Connections of the pool that are in use.",
		}, func() float64 { return float64(pool.Stat().AcquiredConns()) }),
	)
	return m
}

// Removed counts what a sweep removed.
func (m *Metrics) Removed(what string, count, bytes int64) {
	m.removedCount.WithLabelValues(what).Add(float64(count))
	m.removedBytes.WithLabelValues(what).Add(float64(bytes))
}
