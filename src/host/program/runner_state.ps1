# Reads how far a runner is, and the last lines of what it printed.
$Dir = 'C:\ProgramData\pvectl\runner'
[Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false
$State = Join-Path $Dir 'state'
if (Test-Path -LiteralPath $State) { Get-Content -LiteralPath $State -Encoding UTF8 }
'[log]'
$Log = Join-Path $Dir 'log'
if (@LINES@ -gt 0 -and (Test-Path -LiteralPath $Log)) { Get-Content -LiteralPath $Log -Tail @LINES@ }
