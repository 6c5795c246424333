# Turns the TSV of tests/bench/bench into the Markdown tables of its report.
#
# Reads the job list first (fields separated by '|'), then the TSV.  Variables:
# servers, the columns, separated by blanks; jobs, the rows, likewise.

function sort_values(v, n,   i, j, x) {
	for (i = 2; i <= n; i++) {
		x = v[i]
		for (j = i - 1; j >= 1 && v[j] > x; j--)
			v[j + 1] = v[j]
		v[j + 1] = x
	}
}

function median(v, n) {
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function human(x) {
	if (x >= 9999.5)
		return sprintf(x < 99950 ? "%.1f k" : "%.0f k", x / 1000)
	return sprintf(x < 10 ? "%.2f" : "%.0f", x)
}

# Leaves the sorted values of what[job, server, *] in V and returns how many.
function collect(what, job, server,   r, n) {
	n = 0
	for (r = 1; r <= rounds; r++)
		if ((job, server, r) in what)
			V[++n] = what[job, server, r]
	sort_values(V, n)
	return n
}

function cell(what, job, server,   n) {
	n = collect(what, job, server)
	if (!n)
		return "-"
	if (n == 1)
		return human(V[1])
	return human(median(V, n)) " (" human(V[1]) "-" human(V[n]) ")"
}

# Ratio of the medians, with the range of the ratios within single rounds.
function ratio(job, server, job2, server2,   n, m, m2, r) {
	n = collect(value, job, server)
	m = n ? median(V, n) : 0
	n = collect(value, job2, server2)
	m2 = n ? median(V, n) : 0
	if (!m || !m2)
		return "-"
	n = 0
	for (r = 1; r <= rounds; r++)
		if ((job, server, r) in value && value[job2, server2, r] > 0)
			V[++n] = value[job, server, r] / value[job2, server2, r]
	sort_values(V, n)
	if (n < 2)
		return sprintf("%.2f", m / m2)
	return sprintf("%.2f (%.2f-%.2f)", m / m2, V[1], V[n])
}

function table_head(first, ratios,   i, line, rule) {
	line = "| " first " |"
	rule = "|---|"
	for (i = 1; i <= n_servers; i++) {
		line = line " " column[i] " |"
		rule = rule "--:|"
	}
	if (ratios) {
		line = line " rawcow / limit | rawcow / own in place | rawcow / qsd |"
		rule = rule "--:|--:|--:|"
	}
	print line
	print rule
}

function main_row(job,   i, line) {
	line = "| " title[job] ", " unit[job] " |"
	for (i = 1; i <= n_servers; i++)
		line = line " " cell(value, job, column[i]) " |"
	line = line " " ratio(job, "rawcow", job, yard[job]) \
		(yard[job] == "limit" ? "" : " wb") " |"
	line = line " " (own[job] == "-" ? "" : \
		ratio(job, "rawcow", own[job], "rawcow")) " |"
	line = line " " ratio(job, "rawcow", job, "qsd") " |"
	print line
}

function cpu_row(job,   i, line) {
	line = "| " title[job] " |"
	for (i = 1; i <= n_servers; i++)
		line = line " " cell(cpu, job, column[i]) " |"
	print line
}

FILENAME != "-" && FNR == 1 { n_file++ }
n_file == 1 && /^#/ { next }
n_file == 1 {
	split($0, f, "|")
	title[f[1]] = f[2]
	unit[f[1]] = f[3]
	yard[f[1]] = f[6]
	own[f[1]] = f[7]
	next
}
/^#/ || $1 == "round" { next }
{
	split($0, f, "\t")
	if (f[1] > rounds)
		rounds = f[1] + 0
	if (f[5] == "-")
		next
	value[f[2], f[3], f[1]] = f[5] + 0
	if (f[7] + 0 > 0 && f[3] != "raw")
		cpu[f[2], f[3], f[1]] = f[6] / (f[7] / 1073741824)
}

END {
	n_servers = split(servers, column, " ")
	n_jobs = split(jobs, row, " ")
	table_head("job", 1)
	for (i = 1; i <= n_jobs; i++)
		main_row(row[i])
	print ""
	print "Server CPU, seconds per GiB read or written:"
	print ""
	table_head("job", 0)
	for (i = 1; i <= n_jobs; i++)
		cpu_row(row[i])
}
