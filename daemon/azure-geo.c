/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "azure-geo.h"

#include <ctype.h>

/* The codes that Microsoft names for the private DNS zones of Backup. Newer regions may be missing. */
static const struct {
    const char *region, *code;
} codes[] = {
    {"australiacentral", "acl"},
    {"australiacentral2", "acl2"},
    {"australiaeast", "ae"},
    {"australiasoutheast", "ase"},
    {"brazilsouth", "brs"},
    {"brazilsoutheast", "bse"},
    {"canadacentral", "cnc"},
    {"canadaeast", "cne"},
    {"centralindia", "inc"},
    {"centralus", "cus"},
    {"centraluseuap", "ccy"},
    {"chinaeast", "sha"},
    {"chinaeast2", "sha2"},
    {"chinanorth", "bjb"},
    {"chinanorth2", "bjb2"},
    {"eastasia", "ea"},
    {"eastus", "eus"},
    {"eastus2", "eus2"},
    {"eastus2euap", "ecy"},
    {"francecentral", "frc"},
    {"francesouth", "frs"},
    {"germanynorth", "gn"},
    {"germanywestcentral", "gwc"},
    {"japaneast", "jpe"},
    {"japanwest", "jpw"},
    {"jioindiacentral", "jic"},
    {"jioindiawest", "jiw"},
    {"koreacentral", "krc"},
    {"koreasouth", "krs"},
    {"northcentralus", "ncus"},
    {"northeurope", "ne"},
    {"norwayeast", "nwe"},
    {"norwaywest", "nww"},
    {"southafricanorth", "san"},
    {"southafricawest", "saw"},
    {"southcentralus", "scus"},
    {"southeastasia", "sea"},
    {"southindia", "ins"},
    {"swedencentral", "sdc"},
    {"swedensouth", "sds"},
    {"switzerlandnorth", "szn"},
    {"switzerlandwest", "szw"},
    {"uaecentral", "uac"},
    {"uaenorth", "uan"},
    {"uksouth", "uks"},
    {"ukwest", "ukw"},
    {"usdodcentral", "udc"},
    {"usdodeast", "ude"},
    {"usgovarizona", "uga"},
    {"usgoviowa", "ugi"},
    {"usgovtexas", "ugt"},
    {"usgovvirginia", "ugv"},
    {"westcentralus", "wcus"},
    {"westeurope", "we"},
    {"westindia", "inw"},
    {"westus", "wus"},
    {"westus2", "wus2"},
    {"westus3", "wus3"},
};

static const char *const domains[CLOUD_MAX] = {
    [CLOUD_PUBLIC] = "com",
    [CLOUD_CHINA] = "cn",
    [CLOUD_USGOVERNMENT] = "us",
};

static bool region_is(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a == ' ')
            a++;
        if (tolower((unsigned char)*a) != *b)
            return false;
        if (!*a)
            return true;
    }
}

char *azure_geo_portal(const char *region, CloudName cloud)
{
    char *host;
    size_t i;

    for (i = 0; i < ELEMENTSOF(codes); i++)
        if (region_is(region, codes[i].region))
            return asprintf(&host, "pod01-rec2.%s.backup.windowsazure.%s", codes[i].code, domains[cloud]) < 0
                       ? NULL
                       : host;
    return NULL;
}
