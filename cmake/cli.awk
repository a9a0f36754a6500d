# Render what `skep _tables` prints, so that the man page and the completion say what the program
# itself goes by.
#
#	awk -v page=TEMPLATE -f cli.awk TABLES		the man page, on stdout
#	awk -f cli.awk TABLES				the bash completion
#
# A line of the tables is "command NAME ARGUMENTS SUMMARY" or, behind it, one of the command's flags:
# "flag COMMAND LETTER NAME ARGUMENT HELP"; tabs between, "-" for what is absent.

BEGIN {
	FS = "\t"
}

{
	for (i = 1; i <= NF; i++)
		if ($i == "-")
			$i = ""
}

$1 == "command" {
	command[++commands] = $2
	argument[$2] = $3
	summary[$2] = $4
}

$1 == "flag" {
	i = ++options[$2]
	short[$2, i] = $3
	long[$2, i] = $4
	takes[$2, i] = $5
	help[$2, i] = $6
}

END {
	if (!commands) {
		print "cli.awk: the tables are empty" >"/dev/stderr"
		exit 1
	}
	if (page)
		render_page()
	else
		render_completion()
}

# Text as troff takes it.
function roff(s)
{
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	gsub(/'/, "\\(aq", s)
	gsub(/…/, "...", s)
	sub(/^\./, "\\\\\\&.", s)
	return s
}

function sentence(s)
{
	return toupper(substr(s, 1, 1)) substr(s, 2) (s ~ /[.?!]$/ ? "" : ".")
}

function page_options(c,    i, name)
{
	for (i = 1; i <= options[c]; i++) {
		name = "\\fB\\-\\-" roff(long[c, i]) "\\fR"
		if (short[c, i] != "")
			name = "\\fB\\-" roff(short[c, i]) "\\fR, " name
		print ".TP"
		print name (takes[c, i] == "" ? "" : " \\fI" roff(takes[c, i]) "\\fR")
		print roff(sentence(help[c, i]))
	}
}

function render_page(    line, i, c)
{
	while ((getline line <page) > 0) {
		if (line != "@COMMANDS@") {
			print line
			continue
		}
		for (i = 1; i <= commands; i++) {
			c = command[i]
			print ".SS skep " roff(c) (argument[c] == "" ? "" : " " roff(argument[c]))
			print roff(sentence(summary[c]))
			page_options(c)
		}
	}
}

# The words of a choice such as "stdio|none|file:PATH" that are whole in themselves, or nothing.
function choices(s)
{
	if (s !~ /^[a-z0-9-]+(\|[a-z0-9-]+(:[A-Z]+)?)+$/)
		return ""
	gsub(/\|[a-z0-9-]+:[A-Z]+/, "", s)
	gsub(/\|/, " ", s)
	return s
}

# How the shell completes an option's argument.
function completer(s)
{
	if (choices(s) != "")
		return "_skep_words '" choices(s) "'"
	if (s ~ /^(MODEL|\[?NAME)/)
		return "_skep_words \"$(skep devices 2>/dev/null | cut -d ' ' -f 1)\""
	if (s ~ /^(FILE|PATH|DIR)/)
		return "_skep_files"
	return ":"
}

function pattern(c, i)
{
	return c ":--" long[c, i] (short[c, i] == "" ? "" : " | " c ":-" short[c, i])
}

function completion_command(c,    i, words)
{
	for (i = 1; i <= options[c]; i++) {
		words = words "--" long[c, i] (short[c, i] == "" ? "" : " -" short[c, i]) " "
		if (takes[c, i] != "")
			printf "\t%s) %s ;;\n", pattern(c, i), completer(takes[c, i])
	}
	printf "\t%s:*)\n", c
	printf "\t\tif [[ $cur == -* ]]; then\n\t\t\t_skep_words '%s--help'\n", words
	printf "\t\telse\n\t\t\t%s\n\t\tfi\n\t\t;;\n", completer(argument[c])
}

function render_completion(    i, names)
{
	for (i = 1; i <= commands; i++)
		names = names (i > 1 ? " " : "") command[i]
	print "# bash completion for skep, made from the option tables of the program"
	print "# shellcheck shell=bash"
	print ""
	print "_skep_words() {"
	print "\tmapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$cur\")"
	print "}"
	print ""
	print "_skep_files() {"
	print "\tcompopt -o filenames 2>/dev/null"
	print "\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")"
	print "}"
	print ""
	print "_skep() {"
	print "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}"
	print "\tCOMPREPLY=()"
	print "\tif ((COMP_CWORD == 1)); then"
	printf "\t\t_skep_words '%s --help --version'\n\t\treturn\n\tfi\n", names
	print "\t# The shell takes --option=value for three words."
	print "\tif [[ $cur == = ]]; then"
	print "\t\tcur=''"
	print "\telif [[ $prev == = ]]; then"
	print "\t\tprev=${COMP_WORDS[COMP_CWORD - 2]}"
	print "\tfi"
	print "\tcase ${COMP_WORDS[1]}:$prev in"
	for (i = 1; i <= commands; i++)
		completion_command(command[i])
	print "\tesac"
	print "}"
	print ""
	print "complete -F _skep skep"
}
