/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every mistake in the configuration is refused with file and line, and tells what was expected. */

#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

#define VAULT "/subscriptions/s/resourceGroups/r/providers/Microsoft.RecoveryServices/vaults/"
#define VAULT_2_AGAIN "/SUBSCRIPTIONS/S/resourcegroups/R/providers/microsoft.recoveryservices/Vaults/2"
#define LONG_IDENTITY                                                                                        \
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg-backup-production-westeurope/"    \
    "providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-of-the-recovery-hosts-in-production-001"

static char dir[64], path[96], dropins[96];

static int setup(void **state)
{
    strcpy(dir, "/tmp/ilr-test-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/ilrd.conf", dir);
    snprintf(dropins, sizeof(dropins), "%s/ilrd.conf.d", dir);
    return mkdir(dropins, 0700);
}

static int teardown(void **state)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void put(const char *file, const char *text, size_t size)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
}

static void test_defaults(void **state)
{
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_failure_ Failure *f = NULL;

    assert_int_equal(config_load(path, &c, &f), 0); /* no file at all */
    assert_null(f);
    assert_string_equal(c->management_url, "https://management.azure.com");
    assert_string_equal(c->api_version, "2026-08-01");
    assert_int_equal(c->initiator_mode, INITIATOR_HOST);
    assert_int_equal(c->sessions_max, 32);
    assert_true(c->follow_symlinks);
}

static void test_values_and_order(void **state)
{
    static const char main_text[] =
        "# comment\n; comment\n\n[Azure]\r\nTenantId = t-1\nPollIntervalSec=500ms\n"
        "Vault=" VAULT "gone\nVault=\nVault=" VAULT "1 " VAULT "2\nLocation=westeurope\n"
        "[Connection]\nInitiator=iqn.2026-01.com.example:a\n[Storage]\nOverlaySizeBytes="
        "64M\nOverlayTotalBytes=1G\nFollowSymlinks=no\n";
    static const char first[] = "\xef\xbb\xbf[Azure]\n  PollIntervalSec = 1s \nVault=" VAULT_2_AGAIN
                                "\nVault=" VAULT "3\n\t[Connection]  \nInitiator=none\n"
                                "[Azure]\nManagedIdentityResourceId=" LONG_IDENTITY "\nCAFile=/a ;b#c=d";
    static const char second[] = "[Azure]\nPollIntervalSec=2\n";
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_failure_ Failure *f = NULL;
    char file[160];

    put(path, main_text, strlen(main_text));
    snprintf(file, sizeof(file), "%s/20-b.conf", dropins);
    put(file, second, strlen(second));
    snprintf(file, sizeof(file), "%s/10-a.conf", dropins);
    put(file, first, strlen(first));
    snprintf(file, sizeof(file), "%s/ignored.txt", dropins);
    put(file, "nonsense", 8);
    snprintf(file, sizeof(file), "%s/.30-hidden.conf", dropins); /* an editor's */
    put(file, "nonsense", 8);
    assert_int_equal(config_load(path, &c, &f), 0);
    assert_string_equal(c->tenant_id, "t-1");
    assert_int_equal(c->poll_interval_usec, 2 * USEC_PER_SEC);
    assert_int_equal(c->initiator_mode, INITIATOR_NONE);
    assert_null(c->initiator_name);
    assert_int_equal(strv_length(c->vaults), 3);
    assert_string_equal(c->vaults[0], VAULT "1");
    assert_string_equal(c->vaults[2], VAULT "3");
    assert_string_equal(c->managed_resource_id, LONG_IDENTITY);
    assert_string_equal(c->ca_file, "/a ;b#c=d");
    assert_int_equal(strv_length(c->locations), 1);
    assert_int_equal(c->overlay_size_bytes, 64 * MIB);
    assert_int_equal(c->overlay_total_bytes, GIB);
    assert_false(c->follow_symlinks);
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *where, *what;
    } cases[] = {
        {"[Azure]\n\nTenant=x\n", ":3:", "unknown key Tenant= in [Azure]"},
        {"[Azur]\nTenantId=x\n", ":1:", "unknown section [Azur]"},
        {"[Azure]\n# only a comment\n[Azur]\n", ":3:", "unknown section [Azur]"},
        {"[]\nTenantId=x\n", ":1:", "unknown section []"},
        {"TenantId=x\n", ":1:", "TenantId= stands before the first [SECTION]"},
        {"[Azure]\nClientSecret=hunter2\n", ":2:", "unknown key ClientSecret="},
        {"[Azure]\nTenantId x\n", ":2:", "expected KEY=VALUE"},
        {"[Azure\n", ":1:", "expected KEY=VALUE or [SECTION]"},
        {"[Azure]\nManagementUrl=http://management.azure.com\n", ":2:", "expected https://HOST"},
        {"[Azure]\nManagementUrl=https://management.azure.com/\n", ":2:", "without a path"},
        {"[Azure]\nManagementUrl=https://a:b\n", ":2:", "https://HOST:PORT"},
        {"[Azure]\nManagementUrl=https://a:65536\n", ":2:", "https://HOST:PORT"},
        {"[Azure]\nManagementUrl=https://a:0\n", ":2:", "https://HOST:PORT"},
        {"[Azure]\nProxy=http://a:99999\n", ":2:", "http://HOST:PORT"},
        {"[Azure]\nLoginUrl=\n", ":2:", "expected https://HOST"},
        {"[Azure]\nCAFile=ca.pem\n", ":2:", "an absolute path"},
        {"[Azure]\nApiVersion=latest\n", ":2:", "YYYY-MM-DD"},
        {"[Azure]\nApiVersion=2026- 8- 1\n", ":2:", "YYYY-MM-DD"},
        {"[Azure]\nApiVersion=2026-08-011\n", ":2:", "YYYY-MM-DD"},
        {"[Azure]\nTenantId=a/b\n", ":2:", "an identifier"},
        {"[Azure]\nVault=my-vault\n", ":2:", "a resource id"},
        {"[Azure]\nVault=" VAULT "1\nVault=" VAULT "2 v2\n", ":3: Vault=v2:", "a resource id"},
        {"[Azure]\nVault=/subscriptions/0/vault\n", ":2:", "a resource id"},
        {"[Azure]\nVault=" VAULT "\n", ":2:", "a resource id"},
        {"[Azure]\nVault=" VAULT "v/\n", ":2:", "a resource id"},
        {"[Azure]\nVault=" VAULT "v/backupFabrics/Azure\n", ":2:", "a resource id"},
        {"[Azure]\nVault=/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/vaults/v\n",
         ":2:", "a resource id"},
        {"[Azure]\nLocation=West Europe west-europe\n", ":2: Location=west-europe:", "short name"},
        {"[Azure]\nPollIntervalSec=0\n", ":2:", "a time from 100ms"},
        {"[Azure]\nOperationTimeoutSec=soon\n", ":2:", "a time from 100ms"},
        {"[Connection]\nInitiator=myhost\n", ":2:", "an iSCSI name"},
        {"[Connection]\nWorkSizeBytes=1\n", ":2:", "a size from 1M"},
        {"[Storage]\nOverlaySizeBytes=1T\n", ":2:", "a size from 1M"},
        {"[Storage]\nFollowSymlinks=maybe\n", ":2:", "yes or no"},
        {"[Session]\nSessionsMax=257\n", ":2:", "a number from 1 to 256"},
        {"[Session]\nSessionsMax=0\n", ":2:", "a number from 1 to 256"},
        {"[Session]\nSessionsMax=\n", ":2:", "a number from 1 to 256"},
        {"[Session]\nSessionsMax=3\nSessionsMax=x\n", ":3:", "SessionsMax=x"},
        {"[Session]\nSessionsPerCallerMax=257\n", ":2:", "a number from 0 to 256"},
        {"[Session]\nSessionsPerCallerMax=-1\n", ":2:", "a number from 0 to 256"},
        {"[Session]\nIdleSec=500ms\n", ":2:", "a time from 1s to 24h, or 0"},
        {"[Session]\nIdleSec=25h\n", ":2:", "a time from 1s to 24h, or 0"},
        {"[Session]\nBusyRetrySec=-1\n", ":2:", "a time from 100ms"},
        {"[Session]\nExpiryNoticeSec=13h\n", ":2:", "a time from 1s to 12h, or 0"},
        {"[Session]\nExpiryWarningSec=x\n", ":2:", "a time from 1s to 12h, or 0"},
        {"[Session]\nExpiryReleaseSec=0\n", ":2:", "a time from 1s to 12h"},
        {"[Session]\nExpiryForceSec=0\n", ":2:", "a time from 1s to 12h"},
        {"[Azure]\nProxy=https://proxy.example:3128\n", ":2:", "http://HOST:PORT"},
        {"[Azure]\nProxy=http://user:password@proxy.example:3128\n", ":2:", "without user and password"},
        {"[Azure]\nProxy=http://proxy.example:port\n", ":2:", "http://HOST:PORT"},
        {"[Azure]\nProxy=http://proxy.example\n", ":2:", "http://HOST:PORT"},
        {"[Azure]\n=x\n", ":2:", "expected KEY=VALUE"},
        {"[Azure]\nTenantId=t\n  [Session\n", ":3:", "expected KEY=VALUE or [SECTION]"},
        {"[Azure]\nTenantId=t\n  Nonsense=2\n", ":3:", "unknown key Nonsense="},
        {"[Azure]\nCredential=password\n", ":2:", "client-secret, client-certificate"},
        {"[Azure]\nCredential=\n", ":2:", "auto, client-secret"},
        {"[Azure]\nCloud=germany\n", ":2:", "public, china or usgovernment"},
        {"[Azure]\nImdsUrl=http://10.0.0.1\n", ":2:", "169.254.x.y or 127.x.y.z"},
        {"[Azure]\nImdsUrl=http://127.evil.example\n", ":2:", "169.254.x.y or 127.x.y.z"},
        {"[Azure]\nImdsUrl=https://169.254.169.254\n", ":2:", "http://ADDRESS"},
        {"[Azure]\nSendCertificateChain=true\n", ":2:", "yes or no"},
        {"[Azure]\nManagedIdentityClientId=a b\n", ":2:", "an identifier"},
        {"[Azure]\nManagedIdentityObjectId=a/b\n", ":2:", "an identifier"},
        {"[Azure]\nManagedIdentityResourceId=my-identity\n", ":2:", "a resource id"},
        {"[Azure]\nManagedIdentityResourceId=/subscriptions/1?x\n", ":2:", "a resource id"},
        {"[Azure]\nClientId=a b\n", ":2:", "an identifier"},
        {"[Azure]\nLoginClientId=a b\n", ":2:", "an identifier"},
        {"[Azure]\nFallbackApiVersion=2025-08-01-beta\n", ":2:", "YYYY-MM-DD-preview"},
        {"[Azure]\nClientSecretFile=secret\n", ":2:", "an absolute path"},
        {"[Azure]\nClientCertificateFile=c.pem\n", ":2:", "an absolute path"},
        {"[Azure]\nClientKeyFile=k.pem\n", ":2:", "an absolute path"},
        {"[Azure]\nClientKeyPassphraseFile=p\n", ":2:", "an absolute path"},
        {"[Azure]\nFederatedTokenFile=t\n", ":2:", "an absolute path"},
        {"[Azure]\nRequestTimeoutSec=25h\n", ":2:", "a time from 100ms to 24h"},
        {"[Connection]\nConnectTimeoutSec=\n", ":2:", "a time from 100ms"},
        {"[Connection]\nSilenceTimeoutSec=1ms\n", ":2:", "a time from 100ms"},
        {"[Connection]\nPromptTimeoutSec=x\n", ":2:", "a time from 100ms"},
        {"[Storage]\nDiskTimeoutSec=0\n", ":2:", "a time from 100ms"},
        {"[Storage]\nMountTimeoutSec=0\n", ":2:", "a time from 100ms"},
        {"[Storage]\nReplay=yes\n", ":2:", "overlay or none"},
        /* Each line is right, all of them together are not: the last one of them is named. */
        {"[Azure]\nManagedIdentityObjectId=a\nTenantId=t\nManagedIdentityClientId=b\nClientId=c\n",
         ":4: ManagedIdentityClientId=b:", "only one of"},
        {"[Session]\nExpiryForceSec=5min\nSessionsMax=2\n",
         ":2: ExpiryForceSec=5min:", "ExpiryReleaseSec= must be longer than ExpiryForceSec="},
        {"[Session]\nExpiryForceSec=30s\nExpiryReleaseSec=30s\n",
         ":3: ExpiryReleaseSec=30s:", "must be longer"},
    };
    char file[160];
    size_t i;

    for (i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(config_freep) Config *c = NULL;
        _cleanup_failure_ Failure *f = NULL;

        put(path, cases[i].text, strlen(cases[i].text));
        assert_true(config_load(path, &c, &f) < 0);
        assert_null(c);
        assert_non_null(f);
        assert_int_equal(f->name, FAILURE_NOT_CONFIGURED);
        if (!strstr(f->message, cases[i].where) || !strstr(f->message, cases[i].what) ||
            !strstr(f->message, path))
            fail_msg("%s: told: %s", cases[i].text, f->message);
    }
    /* The same in a drop-in names the drop-in. */
    {
        _cleanup_(config_freep) Config *c = NULL;
        _cleanup_failure_ Failure *f = NULL;

        put(path, "", 0);
        snprintf(file, sizeof(file), "%s/10-a.conf", dropins);
        put(file, "[Azure]\nNo=1\n", 13);
        assert_true(config_load(path, &c, &f) < 0);
        assert_non_null(strstr(f->message, "10-a.conf:2:"));
    }
    /* Nor is a mistake of two files together told of the wrong one. */
    {
        static const char drop_in[] = "[Session]\n\nExpiryForceSec=1min\n";
        _cleanup_(config_freep) Config *c = NULL;
        _cleanup_failure_ Failure *f = NULL;

        put(path, "[Session]\nExpiryReleaseSec=20s\nExpiryForceSec=10s\n", 50);
        put(file, drop_in, strlen(drop_in));
        assert_true(config_load(path, &c, &f) < 0);
        assert_non_null(strstr(f->message, "10-a.conf:3: ExpiryForceSec=1min: "));
    }
}

static void test_many_vaults(void **state)
{
    static const char *const keys[] = {"Vault=" VAULT, "Location=region"};
    size_t k;

    for (k = 0; k < ELEMENTSOF(keys); k++) {
        _cleanup_(config_freep) Config *c = NULL, *d = NULL;
        _cleanup_failure_ Failure *f = NULL;
        char text[16 * 1024] = "[Azure]\n";
        int i;

        for (i = 0; i < 64; i++)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d\n", keys[k], i);
        put(path, text, strlen(text));
        assert_int_equal(config_load(path, &c, &f), 0);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s0\n", keys[k]); /* there already */
        put(path, text, strlen(text));
        assert_int_equal(config_load(path, &d, &f), 0);
        d = config_free(d);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s64\n", keys[k]);
        put(path, text, strlen(text));
        assert_true(config_load(path, &d, &f) < 0);
        assert_non_null(strstr(f->message, ":67: "));
        assert_non_null(strstr(f->message, "no more than 64"));
    }
}

/* Root may read everything, so it is something that is no file. */
static void test_unreadable(void **state)
{
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_failure_ Failure *f = NULL, *g = NULL, *h = NULL;
    char file[160];

    assert_int_equal(symlink(path, path), 0);
    assert_int_equal(config_load(path, &c, &f), -ELOOP);
    assert_non_null(strstr(f->message, path));
    assert_int_equal(unlink(path), 0);
    snprintf(file, sizeof(file), "%s/10-a.conf", dropins);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_true(config_load(path, &c, &g) < 0);
    assert_non_null(strstr(g->message, file));
    assert_int_equal(rmdir(file), 0);
    assert_int_equal(rmdir(dropins), 0);
    put(dropins, "", 0);
    assert_int_equal(config_load(path, &c, &h), -ENOTDIR);
    assert_non_null(strstr(h->message, dropins));
    assert_null(c);
}

static void test_strange_files(void **state)
{
    static char big[2 * 1024 * 1024];
    _cleanup_(config_freep) Config *c = NULL;
    _cleanup_failure_ Failure *f = NULL, *g = NULL, *h = NULL;
    char *vaults = big + sprintf(big, "[Azure]\nVault=");
    int i;

    for (i = 0; i < 64; i++)
        vaults += sprintf(vaults, " " VAULT "%d", i);
    put(path, big, (size_t)(vaults - big));
    assert_int_equal(config_load(path, &c, &h), 0);
    assert_int_equal(strv_length(c->vaults), 64);
    c = config_free(c);
    put(path, "[Azure]\nTenantId=a\0b\n", 21);
    assert_true(config_load(path, &c, &f) < 0);
    assert_non_null(strstr(f->message, "NUL"));
    memset(big, '#', sizeof(big));
    put(path, big, sizeof(big));
    assert_true(config_load(path, &c, &g) < 0);
    assert_non_null(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_and_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mistakes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_vaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strange_files, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
