# The work in a Windows guest: Windows Update by its COM interface. The words and the list are put in as texts that PowerShell
# takes literally. The work runs as a scheduled task of SYSTEM, so that it outlives the guest agent's child.
$ErrorActionPreference = 'Stop'
$Words = '@WORDS@' -split ' '
$List = @'
@LIST@
'@
$Base = 'C:\ProgramData\pvectl'
$Root = 'C:\ProgramData\pvectl\patch'
$Program = @'
param([string]$Step, [string]$Window, [string]$Name, [string]$First, [string]$Second)
$ErrorActionPreference = 'Stop'
$Dir = Join-Path 'C:\ProgramData\pvectl\patch' $Window
$Job = Join-Path $Dir $Name
$Utf8 = New-Object System.Text.UTF8Encoding $false

function Now { [int64]([DateTime]::UtcNow - [DateTime]'1970-01-01').TotalSeconds }
function Boot { (Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('yyyyMMddTHHmmssZ') }
function Plain([string]$Text) {
    $Line = $Text -replace '[\x00-\x1f\x7f]', ' '
    if ($Line.Length -gt 300) { $Line = $Line.Substring(0, 300) }
    $Line
}
function Fact([string]$Text) { [IO.File]::AppendAllText((Join-Path $Job 'facts'), (Plain $Text) + "`n", $Utf8) }
function Say([string]$Text) { [IO.File]::AppendAllText((Join-Path $Job 'log'), (Plain $Text) + "`n", $Utf8) }
# Of one line PowerShell makes a text, not a list: whoever takes an item of it writes `@(Lines FILE)`.
function Lines([string]$File) { if (Test-Path -LiteralPath $File) { @([IO.File]::ReadAllLines($File, $Utf8)) } else { @() } }

function Put([string]$File, [string]$Text) {
    $New = $File + '.' + $PID
    [IO.File]::WriteAllText($New, $Text, $Utf8)
    Move-Item -LiteralPath $New -Destination $File -Force
}

function Publish {
    $Parts = @(Get-ChildItem -LiteralPath $Dir -Directory | ForEach-Object { Join-Path $_.FullName 'section' } |
        Where-Object { Test-Path -LiteralPath $_ } |
        Sort-Object { [int64](@(@(Lines $_) -match '^started=')[0] -replace 'started=', '') })
    Put (Join-Path $Dir 'state') (($Parts | ForEach-Object { [IO.File]::ReadAllText($_, $Utf8) }) -join '')
}

function Section([string]$State, [string]$Code, [string]$Ended) {
    $Out = @("[$Name]", "state=$State")
    if ($Code -ne '') { $Out += "exit=$Code" }
    $Out += 'started=' + @(Lines (Join-Path $Job 'started'))[0]
    if ($Ended -ne '') { $Out += "ended=$Ended" }
    $Out += "beat=$(Now)"
    $Out += 'boot=' + @(Lines (Join-Path $Job 'boot'))[0]
    $Out += @(Lines (Join-Path $Job 'facts'))
    $Out += @(Lines (Join-Path $Job 'log') | Select-Object -Last 40 | ForEach-Object { "log=$_" })
    Put (Join-Path $Job 'section') (($Out -join "`n") + "`n")
    Publish
}

function Reboot {
    if ((New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired) { return 'Windows Update says so' }
    $Keys = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending',
        'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
    foreach ($Key in $Keys) { if (Test-Path -LiteralPath $Key) { return 'servicing says so' } }
    ''
}

function System-Facts {
    Fact 'os=windows'
    Fact ('release=' + [Environment]::OSVersion.Version.ToString())
    Fact 'manager=windows-update'
}

# One name an update: its KB number, or its identity where it has none.
function Name-Of($Update) {
    if ($Update.KBArticleIDs.Count -gt 0) { 'KB' + $Update.KBArticleIDs.Item(0) } else { [string]$Update.Identity.UpdateID }
}

function Waiting {
    $Searcher = (New-Object -ComObject Microsoft.Update.Session).CreateUpdateSearcher()
    $Searcher.Search('IsInstalled=0 and IsHidden=0').Updates
}

function Is-Security($Update) {
    foreach ($Category in $Update.Categories) {
        if ($Category.CategoryID -eq '0fa1201d-4330-4fa8-8ae9-b877473b6441') { return $true }
    }
    [string]$Update.MsrcSeverity -ne ''
}

function Work-Assess {
    System-Facts
    foreach ($Update in (Waiting)) {
        $Class = if (Is-Security $Update) { 'security' } else { 'other' }
        $Since = [int64]([DateTime]$Update.LastDeploymentChangeTime - [DateTime]'1970-01-01').TotalSeconds
        Fact "pending=$(Name-Of $Update) - $($Update.Identity.RevisionNumber) $Class $Since"
    }
    $Why = Reboot
    if ($Why -ne '') { Fact "reboot=$Why" }
    0
}

function Work-Patch {
    System-Facts
    $Wanted = @{}
    foreach ($Line in (Lines (Join-Path $Job 'list'))) {
        $Part = $Line -split ' '
        if ($Part.Count -eq 3 -and $Part[0] -eq 'package') { $Wanted[$Part[1]] = $Part[2] }
    }
    $Session = New-Object -ComObject Microsoft.Update.Session
    $Chosen = New-Object -ComObject Microsoft.Update.UpdateColl
    foreach ($Update in (Waiting)) {
        $Name_ = Name-Of $Update
        if (-not $Wanted.ContainsKey($Name_)) { continue }
        if ($Wanted[$Name_] -ne '-' -and $Wanted[$Name_] -ne [string]$Update.Identity.RevisionNumber) {
            Say "$Name_ is another revision than listed: left out"
            continue
        }
        if ($Update.InstallationBehavior.CanRequestUserInput) { Say "$Name_ wants to ask a user: left out"; continue }
        if (-not $Update.EulaAccepted) { $Update.AcceptEula() }
        [void]$Chosen.Add($Update)
    }
    if ($Chosen.Count -eq 0) { Say 'nothing of the list is to be installed'; return 0 }
    $Downloader = $Session.CreateUpdateDownloader()
    $Downloader.Updates = $Chosen
    $Got = $Downloader.Download()
    Say "downloaded: result $($Got.ResultCode)"
    if ($Got.ResultCode -ne 2 -and $Got.ResultCode -ne 3) { return 1 }
    $Installer = $Session.CreateUpdateInstaller()
    $Installer.Updates = $Chosen
    $Done = $Installer.Install()
    $Code = 0
    for ($I = 0; $I -lt $Chosen.Count; $I++) {
        $Update = $Chosen.Item($I)
        $Result = $Done.GetUpdateResult($I)
        Say ("{0} {1}: result {2}, 0x{3:x8}" -f (Name-Of $Update), $Update.Title, $Result.ResultCode, $Result.HResult)
        if ($Result.ResultCode -eq 2 -or $Result.ResultCode -eq 3) {
            Fact "changed=$(Name-Of $Update) - $($Update.Identity.RevisionNumber)"
            foreach ($Cve in $Update.CveIDs) { Fact "cve=$Cve" }
        } else { $Code = 1 }
    }
    $Why = Reboot
    if ($Why -ne '') { Fact "reboot=$Why" } elseif ($Done.RebootRequired) { Fact 'reboot=an update says so' }
    $Code
}

# A program with its arguments, each as it is: quoted as Windows programs take their command lines apart.
function Quote([string]$Text) {
    if ($Text -ne '' -and $Text -notmatch '[\s"]') { return $Text }
    '"' + ($Text -replace '(\\*)"', '$1$1\"' -replace '(\\+)$', '$1$1') + '"'
}

function Run-Command([string[]]$Command, [int]$Seconds) {
    $Start = New-Object System.Diagnostics.ProcessStartInfo
    $Start.FileName = $Command[0]
    $Start.Arguments = (($Command | Select-Object -Skip 1 | ForEach-Object { Quote $_ }) -join ' ')
    $Start.UseShellExecute = $false
    $Process = [System.Diagnostics.Process]::Start($Start)
    if (-not $Process.WaitForExit($Seconds * 1000)) { $Process.Kill(); return 124 }
    $Process.ExitCode
}

function Checks([int64]$Deadline) {
    $Found = @()
    $Command = @()
    foreach ($Line in (Lines (Join-Path $Job 'list'))) {
        if ($Line.StartsWith('tcp ')) {
            $Port = [int]$Line.Substring(4)
            $Up = @([Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties().GetActiveTcpListeners() |
                Where-Object { $_.Port -eq $Port }).Count -gt 0
            $Found += if ($Up) { "check=tcp:$Port ok something listens" } else { "check=tcp:$Port bad nobody listens" }
        } elseif ($Line.StartsWith('argument ')) { $Command += $Line.Substring(9) }
    }
    if ($Command.Count -gt 0) {
        $Left = [Math]::Max(1, $Deadline - (Now))
        try { $Code = Run-Command $Command $Left } catch { $Code = 127; Say $_.Exception.Message }
        $Found += if ($Code -eq 0) { 'check=command ok exit status 0' } else { "check=command bad exit status $Code" }
    }
    $Found
}

function Work-Health {
    $Deadline = (Now) + [int64]$First
    while ($true) {
        $Found = @(Checks $Deadline)
        $Bad = @($Found | Where-Object { $_ -match '^check=[^ ]+ bad ' }).Count
        if ($Bad -eq 0 -or (Now) -ge $Deadline) { break }
        Start-Sleep -Seconds 3
    }
    $Found | ForEach-Object { Fact $_ }
    [int]($Bad -gt 0)
}

# Signs of life come from a job of PowerShell beside the work, which ends with it.
function Work {
    try { [void](New-Item -ItemType Directory -Path (Join-Path $Job 'began') -ErrorAction Stop) } catch { return }
    Put (Join-Path $Job 'pid') "$PID $((Get-Process -Id $PID).StartTime.ToUniversalTime().Ticks)"
    $Heart = Start-Process -PassThru -WindowStyle Hidden -FilePath 'powershell.exe' -ArgumentList '-NoProfile', '-NonInteractive',
        '-ExecutionPolicy', 'Bypass', '-File', (Join-Path $Job 'worker.ps1'), 'heart', $Window, $Name, "$PID"
    $Code = 1
    try {
        $Code = switch ($Step) {
            'assess' { Work-Assess }
            'patch' { Work-Patch }
            'health' { Work-Health }
        }
        $Code = @($Code)[-1]
    } catch { Say $_.Exception.Message }
    Stop-Process -Id $Heart.Id -Force -ErrorAction SilentlyContinue
    Section 'done' "$Code" "$(Now)"
    Remove-Item -LiteralPath (Join-Path $Job 'pid') -ErrorAction SilentlyContinue
    [void](schtasks.exe /Delete /F /TN "pvectl\$Window-$Name")
}

function Heart {
    while (Get-Process -Id ([int]$First) -ErrorAction SilentlyContinue) {
        Start-Sleep -Seconds 10
        if (@(Lines (Join-Path $Job 'section')) -contains 'state=running') { Section 'running' '' '' }
    }
}

function Alive {
    $Line = @(Lines (Join-Path $Job 'pid'))
    if ($Line.Count -eq 0) { return $false }
    $Part = $Line[0] -split ' '
    $Process = Get-Process -Id ([int]$Part[0]) -ErrorAction SilentlyContinue
    ($null -ne $Process) -and ([string]$Process.StartTime.ToUniversalTime().Ticks -eq $Part[1])
}

function Revive {
    if (-not (Test-Path -LiteralPath $Job)) { return }
    if (-not (Test-Path -LiteralPath (Join-Path $Job 'started'))) { Put (Join-Path $Job 'started') "$(Now)" }
    if (-not (Test-Path -LiteralPath (Join-Path $Job 'boot'))) { Put (Join-Path $Job 'boot') (Boot) }
    $There = @(Lines (Join-Path $Job 'section'))
    if ($There.Count -gt 0 -and -not ($There -contains 'state=running')) { return }
    if (Alive) { return }
    $Young = (Now) - [int64]@(Lines (Join-Path $Job 'started'))[0] -lt 30
    if ($Young -and -not (Test-Path -LiteralPath (Join-Path $Job 'pid'))) { return }
    New-Item -ItemType Directory -Path (Join-Path $Job 'began') -ErrorAction SilentlyContinue | Out-Null
    Section 'died' '' "$(Now)"
}

function Note {
    $Facts = @(Lines (Join-Path $Job 'facts'))
    $Known = @($Facts | ForEach-Object { ($_ -split ' ')[0] })
    foreach ($Line in (Lines (Join-Path $Job 'list'))) {
        $Fact = $Line -replace '^note ', 'note='
        if ($Known -notcontains ($Fact -split ' ')[0]) { Fact $Fact; $Known += ($Fact -split ' ')[0] }
    }
    Section 'done' '0' "$(Now)"
}

switch ($Step) {
    'heart' { Heart }
    'revive' { Revive }
    'note' { Note }
    'look' { "boot=$(Boot)"; if (Test-Path -LiteralPath (Join-Path $Dir 'state')) { [IO.File]::ReadAllText((Join-Path $Dir 'state'), $Utf8) } }
    'died' { Section 'died' '' "$(Now)" }
    'begun' { Section 'running' '' '' }
    'assess' { Work }
    'patch' { Work }
    'health' { Work }
}
'@

$Utf8 = New-Object System.Text.UTF8Encoding $false
$Verb = $Words[0]
$Window = $Words[1]
$Name = if ($Words.Count -gt 2) { $Words[2] } else { 'read' }
foreach ($Word in $Window, $Name) {
    if ($Word -notmatch '^[A-Za-z0-9][A-Za-z0-9._+-]*$') { [Console]::Error.WriteLine("not a name: $Word"); exit 64 }
}
$Worker = [ScriptBlock]::Create($Program)
$Dir = Join-Path $Root $Window
$Job = Join-Path $Dir $Name
if ($Verb -eq 'read') { & $Worker 'look' $Window $Name; exit 0 }

# Below ProgramData every user may make folders, and what stands here is run as SYSTEM: the folders are SYSTEM's and the
# administrators' alone, and one that somebody else made is not taken.
$Trusted = 'S-1-5-18', 'S-1-5-32-544'
foreach ($Folder in $Base, $Root, $Dir) {
    $Shut = New-Object System.Security.AccessControl.DirectorySecurity
    $Shut.SetSecurityDescriptorSddlForm('O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
    [void][IO.Directory]::CreateDirectory($Folder, $Shut)
    $Link = [IO.File]::GetAttributes($Folder) -band [IO.FileAttributes]::ReparsePoint
    $Owner = [IO.Directory]::GetAccessControl($Folder).GetOwner([Security.Principal.SecurityIdentifier]).Value
    if ($Link -or $Trusted -notcontains $Owner) {
        [Console]::Error.WriteLine("$Folder was made by somebody else ($Owner): look into it, and remove it")
        exit 73
    }
    [IO.Directory]::SetAccessControl($Folder, $Shut)
}
if ($Verb -eq 'revive') { & $Worker 'revive' $Window $Name; exit 0 }
if ($Verb -notin 'assess', 'patch', 'health', 'note') { [Console]::Error.WriteLine("no such work: $Verb"); exit 64 }
$Epoch = [int64]([DateTime]::UtcNow - [DateTime]'1970-01-01').TotalSeconds
$BootMark = (Get-CimInstance Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('yyyyMMddTHHmmssZ')
$Fresh = $true
try { [void](New-Item -ItemType Directory -Path $Job -ErrorAction Stop) } catch { $Fresh = $false }
if (-not $Fresh -and $Verb -ne 'note') {
    if (-not (Test-Path -LiteralPath (Join-Path $Job 'section'))) {
        [IO.File]::WriteAllText((Join-Path $Job 'started'), "$Epoch", $Utf8)
        [IO.File]::WriteAllText((Join-Path $Job 'boot'), $BootMark, $Utf8)
        & $Worker 'died' $Window $Name
    }
    'there already'
    exit 0
}
if ($Fresh) {
    [IO.File]::WriteAllText((Join-Path $Job 'started'), "$Epoch", $Utf8)
    [IO.File]::WriteAllText((Join-Path $Job 'boot'), $BootMark, $Utf8)
}
[IO.File]::WriteAllText((Join-Path $Job 'list'), $List, $Utf8)
if ($Verb -eq 'note') { & $Worker 'note' $Window $Name; exit 0 }
[IO.File]::WriteAllText((Join-Path $Job 'worker.ps1'), $Program, $Utf8)
& $Worker 'begun' $Window $Name
Get-ChildItem -LiteralPath $Dir -Directory | Where-Object { -not $_.Name.StartsWith(($Name -split '-')[0] + '-') } |
    Sort-Object CreationTimeUtc -Descending | Select-Object -Skip 8 | Remove-Item -Recurse -Force
$First = if ($Words.Count -gt 3) { $Words[3] } else { '0' }
$Second = if ($Words.Count -gt 4) { $Words[4] } else { '0' }
$File = Join-Path $Job 'worker.ps1'
$Arguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File $File $Verb $Window $Name $First $Second"
$Action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $Arguments
$Settings = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit (New-TimeSpan -Hours 12)
[void](Register-ScheduledTask -TaskPath '\pvectl\' -TaskName "$Window-$Name" -Action $Action -Settings $Settings -User 'SYSTEM' -RunLevel Highest -Force)
Start-ScheduledTask -TaskPath '\pvectl\' -TaskName "$Window-$Name"
'begun'
