# Begins a GitHub runner in a Windows guest, once. The secret comes by standard input and goes on to the worker, a scheduled task of
# SYSTEM, through a named pipe that only SYSTEM and the administrators can open, so that it is in no argument and no file.
param([string[]]$Words)
$ErrorActionPreference = 'Stop'
$Secret = @SECRET@
if ($Secret -eq '') { [Console]::Error.WriteLine('no secret came by standard input: nothing is begun'); exit 64 }
$Program = @'
$ErrorActionPreference = 'Stop'
$Dir = 'C:\ProgramData\pvectl\runner'
$Utf8 = New-Object System.Text.UTF8Encoding $false
$Words = @([IO.File]::ReadAllLines((Join-Path $Dir 'words'), $Utf8) | ForEach-Object { [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($_)) })
$Name, $Directory, $HostName, $Version, $Before, $After, $Way, $Url, $Labels, $Group, $Folder, $Pipe = $Words
$Log = Join-Path $Dir 'log'
$State = @{ started = ''; version = ''; why = ''; exit = ''; ended = '' }

function Now { [int64]([DateTime]::UtcNow - [DateTime]'1970-01-01').TotalSeconds }
function Plain([string]$Text) {
    $Line = $Text -replace '[\x00-\x1f\x7f]', ' '
    if ($Line.Length -gt 300) { $Line = $Line.Substring(0, 300) }
    $Line
}
function Say([string]$Text) { [IO.File]::AppendAllText($Log, 'pvectl: ' + (Plain $Text) + "`r`n", $Utf8) }

function Put([string]$Phase) {
    $Out = @("phase=$Phase", "name=$Name")
    foreach ($Key in 'started', 'version', 'why', 'exit', 'ended') { if ("$($State[$Key])" -ne '') { $Out += "$Key=$($State[$Key])" } }
    $New = Join-Path $Dir "state.$PID"
    [IO.File]::WriteAllText($New, ($Out -join "`n") + "`n", $Utf8)
    # Who reads it at this moment holds it.
    for ($Try = 0; $Try -lt 50; $Try++) {
        try { Move-Item -LiteralPath $New -Destination (Join-Path $Dir 'state') -Force -ErrorAction Stop; return } catch { Start-Sleep -Milliseconds 100 }
    }
    throw "the state of the runner cannot be written to $Dir"
}

# It failed before the runner began.
function Fail([string]$Why, [int]$Code) {
    $State.why = Plain $Why
    $State.exit = "$Code"
    $State.ended = "$(Now)"
    Say $Why
    Put 'ended'
    Done
    exit 0
}

function Done { [void](schtasks.exe /Delete /F /TN 'pvectl\runner') }

# A line of cmd.exe, with what is added to the environment of this process alone. Its output goes to the log.
function Run([string]$Line, [hashtable]$More, [int64]$Seconds) {
    $Start = New-Object System.Diagnostics.ProcessStartInfo
    $Start.FileName = Join-Path $env:SystemRoot 'System32\cmd.exe'
    $Start.Arguments = '/d /s /c "' + $Line + ' <nul >>"' + $Log + '" 2>&1"'
    $Start.WorkingDirectory = $Directory
    $Start.UseShellExecute = $false
    foreach ($Key in $More.Keys) { $Start.EnvironmentVariables[$Key] = $More[$Key] }
    $Process = [System.Diagnostics.Process]::Start($Start)
    foreach ($Key in $More.Keys) { [void]$Start.EnvironmentVariables.Remove($Key) }
    $End = (Now) + $Seconds
    while (-not $Process.WaitForExit(60000)) {
        if ((Now) -ge $End) { [void](taskkill.exe /T /F /PID $Process.Id); return 124 }
    }
    $Process.ExitCode
}

# A line of PowerShell, as SYSTEM. It comes to its shell by a file of the same folder.
function Hook([string]$Text) {
    $File = Join-Path $Dir 'hook.ps1'
    [IO.File]::WriteAllText($File, $Text, (New-Object System.Text.UTF8Encoding $true))
    $More = @{ RUNNER_NAME = $Name; RUNNER_DIRECTORY = $Directory; RUNNER_EXIT = "$($State.exit)" }
    $Line = 'powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "' + $File + '"'
    Run $Line $More 900
    Remove-Item -LiteralPath $File -Force -ErrorAction SilentlyContinue
}

# In the registry, so that what starts from now on has it, without a reboot. NetBIOS has 15 characters: the last ones, which differ.
function Name-Host {
    $Short = $Name
    if ($Short.Length -gt 15) { $Short = $Short.Substring($Short.Length - 15).TrimStart('-', '.', '_') }
    $Control = 'HKLM:\SYSTEM\CurrentControlSet\Control\ComputerName'
    Set-ItemProperty -LiteralPath "$Control\ComputerName" -Name 'ComputerName' -Value $Short
    Set-ItemProperty -LiteralPath "$Control\ActiveComputerName" -Name 'ComputerName' -Value $Short
    $Tcp = 'HKLM:\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters'
    Set-ItemProperty -LiteralPath $Tcp -Name 'Hostname' -Value $Short
    Set-ItemProperty -LiteralPath $Tcp -Name 'NV Hostname' -Value $Short
    $env:COMPUTERNAME = $Short
}

# What it registered with is of no use any more, and stays on no disk that is kept for a look.
function Forget {
    foreach ($File in '.credentials', '.credentials_rsaparams') {
        Remove-Item -LiteralPath (Join-Path $Directory $File) -Force -ErrorAction SilentlyContinue
    }
}

function Read-Secret {
    $Client = New-Object IO.Pipes.NamedPipeClientStream '.', $Pipe, ([IO.Pipes.PipeDirection]::In)
    $Client.Connect(60000)
    $Reader = New-Object IO.StreamReader $Client, ([Text.Encoding]::UTF8)
    $Reader.ReadToEnd().Trim()
    $Reader.Dispose()
}

function Configure([string]$Secret) {
    $Line = '"' + (Join-Path $Directory 'config.cmd') + '" --unattended --ephemeral --url "' + $Url + '" --name "' + $Name +
        '" --labels "' + $Labels + '" --work "' + $Folder + '"'
    if ($Group -ne '') { $Line += ' --runnergroup "' + $Group + '"' }
    $Code = Run $Line @{ ACTIONS_RUNNER_INPUT_TOKEN = $Secret } 300
    if ($Code -ne 0) { Fail "config.cmd ended with ${Code}: its last lines are in the log" $Code }
}

function Work {
    try { [void](New-Item -ItemType Directory -Path (Join-Path $Dir 'began') -ErrorAction Stop) } catch { return }
    $State.started = "$(Now)"
    Put 'preparing'
    try { $Secret = Read-Secret } catch { Fail 'the secret did not come to the one who starts the runner' 1 }
    if (-not (Test-Path -LiteralPath (Join-Path $Directory 'run.cmd'))) { Fail "there is no runner in ${Directory}: no run.cmd" 1 }
    $Listener = Join-Path $Directory 'bin\Runner.Listener.exe'
    if (Test-Path -LiteralPath $Listener) {
        $Found = @(& $Listener --version | Where-Object { $_ -match '^[0-9]+(\.[0-9]+)+\s*$' })
        if ($Found.Count -gt 0) { $State.version = $Found[-1].Trim() }
    }
    if ($Version -ne '' -and $State.version -ne $Version) {
        $Has = if ($State.version -eq '') { 'unknown' } else { $State.version }
        Fail "the runner in $Directory is of version $Has, and $Version is asked for" 1
    }
    if ($HostName -eq '1') { try { Name-Host } catch { Fail "the host name could not be set: $($_.Exception.Message)" 1 } }
    if ($Before -ne '') {
        $Code = @(Hook $Before)[-1]
        if ($Code -ne 0) { Fail "the hook before the runner ended with $Code" $Code }
    }
    $More = @{ ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE = '1' }
    if ($Way -eq 'token') { Configure $Secret } else { $More.ACTIONS_RUNNER_INPUT_JITCONFIG = $Secret }
    $Secret = ''
    Put 'running'
    $State.exit = [string](Run ('"' + (Join-Path $Directory 'run.cmd') + '"') $More 518400)
    $More = $null
    Forget
    if ($After -ne '') {
        $Code = @(Hook $After)[-1]
        if ($Code -ne 0) { Say "the hook after the runner ended with $Code" }
    }
    $State.ended = "$(Now)"
    Put 'ended'
    Done
    if ($State.exit -eq '0') { Stop-Computer -Force }
}

try { Work } catch { if ($State.ended -eq '') { Fail $_.Exception.Message 1 } }
'@

$Utf8 = New-Object System.Text.UTF8Encoding $false
$Base = 'C:\ProgramData\pvectl'
$Dir = 'C:\ProgramData\pvectl\runner'
# Below ProgramData every user may make folders, and what stands here is run as SYSTEM: the folders are SYSTEM's and the
# administrators' alone, and one that somebody else made is not taken.
$Shut = New-Object System.Security.AccessControl.DirectorySecurity
$Shut.SetSecurityDescriptorSddlForm('O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
[void][IO.Directory]::CreateDirectory($Base, $Shut)
$Link = [IO.File]::GetAttributes($Base) -band [IO.FileAttributes]::ReparsePoint
$Owner = [IO.Directory]::GetAccessControl($Base).GetOwner([Security.Principal.SecurityIdentifier]).Value
if ($Link -or 'S-1-5-18', 'S-1-5-32-544' -notcontains $Owner) {
    [Console]::Error.WriteLine("$Base was made by somebody else ($Owner): look into it, and remove it")
    exit 73
}
[IO.Directory]::SetAccessControl($Base, $Shut)
try { [void](New-Item -ItemType Directory -Path $Dir -ErrorAction Stop) } catch {
    if (Test-Path -LiteralPath $Dir -PathType Container) { 'there already'; exit 0 }
    throw
}

$Id = 'pvectl-' + [Guid]::NewGuid().ToString('N')
$Access = New-Object IO.Pipes.PipeSecurity
$Access.SetSecurityDescriptorSddlForm('D:P(A;;FA;;;SY)(A;;FA;;;BA)')
$Server = New-Object IO.Pipes.NamedPipeServerStream $Id, ([IO.Pipes.PipeDirection]::Out), 1, ([IO.Pipes.PipeTransmissionMode]::Byte), ([IO.Pipes.PipeOptions]::Asynchronous), 0, 65536, $Access
$Lines = @(($Words + $Id) | ForEach-Object { [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($_)) })
[IO.File]::WriteAllLines((Join-Path $Dir 'words'), [string[]]$Lines, $Utf8)
$File = Join-Path $Dir 'worker.ps1'
[IO.File]::WriteAllText($File, $Program, (New-Object System.Text.UTF8Encoding $true))
$Action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File $File"
$Settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit (New-TimeSpan -Days 7)
[void](Register-ScheduledTask -TaskPath '\pvectl\' -TaskName 'runner' -Action $Action -Settings $Settings -User 'SYSTEM' -RunLevel Highest -Force)
Start-ScheduledTask -TaskPath '\pvectl\' -TaskName 'runner'
$Wait = $Server.BeginWaitForConnection($null, $null)
if (-not $Wait.AsyncWaitHandle.WaitOne(90000)) { [Console]::Error.WriteLine('the worker did not start'); exit 75 }
$Server.EndWaitForConnection($Wait)
$Bytes = [Text.Encoding]::UTF8.GetBytes($Secret)
$Server.Write($Bytes, 0, $Bytes.Length)
$Server.WaitForPipeDrain()
$Server.Dispose()
'begun'
